import { type ItemOutcome, type Operation, type OperationKind, type OperationState, Operations } from '../../operation/index.ts'
import { actorFlags, askedBy } from '../actor.ts'
import { type Command, type CommandContext, type CommandResult, UsageError } from '../command.ts'
import { requireYes } from '../connect.ts'
import { dangerFlags, databaseFlags } from '../flags.ts'
import { inForeground } from '../foreground.ts'
import { operationTable, operationText, progressLine } from '../operation-text.ts'
import { type OperationDesk, withOperations } from '../operations.ts'
import { brokerFlags } from '../relay-broker.ts'
import { table } from '../table.ts'

const states: readonly OperationState[] = ['planned', 'freezing', 'running', 'paused', 'done', 'failed', 'cancelled']

export const opListCommand: Command = {
  name: 'op list',
  summary: 'Long-running operations, the newest first',
  example: 'tidemark op list --state running,paused',
  flags: {
    ...databaseFlags,
    state: { type: 'string', value: 'STATE,…', help: `Only these: ${states.join(', ')}` },
    kind: { type: 'string', value: 'KIND,…', help: 'Only these, such as redrive' },
    limit: { type: 'string', value: 'N', help: 'At most so many (default: 50)' },
  },
  run: (context) =>
    withOperations(context, async ({ operations }) => {
      const { state, kind } = context.flags
      const found = await operations.list({
        ...(typeof state === 'string' ? { states: statesIn(state) } : {}),
        ...(typeof kind === 'string' ? { kinds: kind.split(',') } : {}),
        limit: limitOf(context, 50),
      })
      return { json: { operations: found }, text: found.length === 0 ? 'No operations.' : operationTable(found, Date.now()) }
    }),
}

export const opShowCommand: Command = {
  name: 'op show',
  summary: 'One operation, and its items that failed or were left alone, each with the reason',
  example: 'tidemark op show 0199a5c2-7f6e-7a11-9d55-0d8a3f1c2b4e',
  arguments: 'OPERATION',
  flags: {
    ...databaseFlags,
    outcome: { type: 'string', value: 'OUTCOME,…', help: 'Items that ended so: done, failed, skipped, started (default: failed,skipped)' },
    limit: { type: 'string', value: 'N', help: 'At most so many items (default: 20)' },
  },
  run: (context) =>
    withOperations(context, async ({ operations }) => {
      const operation = await operations.get(idIn(context))
      const items = await operations.items(operation.id, { outcomes: outcomesIn(context), limit: limitOf(context, 20) })
      const rows = items.map(({ place, outcome, data, reason }) => [place, outcome, JSON.stringify(data), reason])
      const list = rows.length === 0 ? [] : ['', table(['item', 'outcome', 'what', 'reason'], rows)]
      return { json: { operation, items }, text: [operationText(operation), ...list].join('\n') }
    }),
}

export const opConfirmCommand: Command = {
  name: 'op confirm',
  summary: 'Let an operation begin that was planned, after a look at what it would do',
  example: 'tidemark op confirm 0199a5c2-7f6e-7a11-9d55-0d8a3f1c2b4e --reason "seen by two" --yes',
  arguments: 'OPERATION',
  flags: {
    ...databaseFlags,
    ...brokerFlags,
    ...dangerFlags,
    ...actorFlags,
    detach: { type: 'boolean', help: 'Leave the work to the processes of the service' },
  },
  run: (context) =>
    withOperations(context, async (desk) => {
      const operation = await desk.operations.get(idIn(context))
      const { id, kind, planned } = operation
      const plan = [
        operationText(operation),
        ...Object.entries(planned.summary).map(([name, value]) => `${name}: ${JSON.stringify(value)}`),
      ]
      if (context.flags['dry-run'] === true) return { json: { dryRun: true, operation }, text: plan.join('\n') }
      context.note(plan.join('\n'))
      requireYes(context, `This begins the ${kind} of ${planned.count} item(s), planned by ${operation.actor.id}.`)
      await operationsOf(context, desk, operation).confirm(id, askedBy(context))
      return goOn(context, desk, id)
    }),
}

/** A kind of the service's own may be confirmed here, and is worked on by the service alone. */
function operationsOf({ flags }: CommandContext, { operations, store, audit, kinds }: OperationDesk, { kind }: Operation): Operations {
  if (kinds.some(({ name }) => name === kind)) return operations
  if (flags.detach !== true)
    throw new UsageError(
      `op confirm: the command line cannot work on a ${kind}; pass --detach to leave that to the processes of the service.`,
    )
  const elsewhere = (): never => {
    throw new UsageError(`The command line does not know the kind ${kind}.`)
  }
  const foreign: OperationKind = { name: kind, effect: 'idempotent', plan: elsewhere, freeze: elsewhere, step: elsewhere }
  return new Operations({ store, kinds: [foreign], audit })
}

/** Stores what was planned, for somebody to confirm. */
export async function planned(
  { flags }: CommandContext,
  { operations }: OperationDesk,
  plan: () => Promise<Operation>,
): Promise<CommandResult | null> {
  if (flags.plan !== true) return null
  const { id } = await plan()
  const operation = await operations.get(id)
  return { json: { operation }, text: `${operationText(operation)}\nNothing is done yet. Let it begin: tidemark op confirm ${id} --yes` }
}

export const planFlag: Command['flags'] = {
  plan: { type: 'boolean', help: 'Only store it, for somebody to look at and begin with: tidemark op confirm' },
}

export const opPauseCommand: Command = change('pause', {
  summary: 'Stop an operation for now; nothing more of it commits from here on',
  done: ({ id }) => `Paused. Go on: tidemark op resume ${id}`,
})

export const opCancelCommand: Command = change('cancel', {
  summary: 'Stop an operation for good; what is done stays done',
  done: () => 'Cancelled.',
})

export const opResumeCommand: Command = {
  name: 'op resume',
  summary: 'Go on with an operation that was paused, has failed, or whose process has died',
  example: 'tidemark op resume 0199a5c2-7f6e-7a11-9d55-0d8a3f1c2b4e',
  arguments: 'OPERATION',
  flags: {
    ...databaseFlags,
    ...brokerFlags,
    ...actorFlags,
    detach: { type: 'boolean', help: 'Leave the work to the processes of the service' },
  },
  run: (context) =>
    withOperations(context, async (desk) => {
      const { id, state } = await desk.operations.get(idIn(context))
      // One whose process has died still runs, as far as anybody knows.
      if (state !== 'running' && state !== 'freezing') await desk.operations.resume(id, askedBy(context))
      return goOn(context, desk, id)
    }),
}

export const opWatchCommand: Command = {
  name: 'op watch',
  summary: 'Watch an operation until it has ended; an interrupt ends the watching alone',
  example: 'tidemark op watch 0199a5c2-7f6e-7a11-9d55-0d8a3f1c2b4e',
  arguments: 'OPERATION',
  flags: databaseFlags,
  streams: true,
  run: (context) =>
    withOperations(context, (desk) => {
      const lines = context.flags.json === true
      return inForeground(context, desk, idIn(context), { onInterrupt: 'leave', work: false, lines })
    }),
}

/** Works on what was started or resumed, or, with `--detach`, leaves it to others. */
export async function goOn(context: CommandContext, desk: OperationDesk, id: string): Promise<CommandResult> {
  if (context.flags.detach !== true) return inForeground(context, desk, id, { onInterrupt: 'pause', work: true })
  const operation = await desk.operations.get(id)
  const text = `${id}\n${progressLine(operation)}. A process of the service that runs operations works on it. Watch: tidemark op watch ${id}`
  return { json: { operation }, text }
}

function change(
  verb: 'pause' | 'cancel',
  { summary, done }: { readonly summary: string; readonly done: (operation: Operation) => string },
): Command {
  return {
    name: `op ${verb}`,
    summary,
    example: `tidemark op ${verb} 0199a5c2-7f6e-7a11-9d55-0d8a3f1c2b4e --reason "wrong filter"`,
    arguments: 'OPERATION',
    flags: { ...databaseFlags, ...actorFlags },
    run: (context) =>
      withOperations(context, async ({ operations }) => {
        const operation = await operations[verb](idIn(context), askedBy(context))
        return { json: { operation }, text: `${progressLine(operation)}\n${done(operation)}` }
      }),
  }
}

function idIn({ args }: CommandContext): string {
  if (args.length !== 1) throw new UsageError('Pass one operation, as tidemark op list prints it.')
  return args[0]!
}

function statesIn(text: string): readonly OperationState[] {
  const asked = text.split(',')
  const unknown = asked.find((state) => !states.some((known) => known === state))
  if (unknown !== undefined) throw new UsageError(`--state takes ${states.join(', ')}; got ${JSON.stringify(unknown)}.`)
  return states.filter((state) => asked.includes(state))
}

function outcomesIn({ flags }: CommandContext): readonly ItemOutcome[] {
  const known: readonly ItemOutcome[] = ['done', 'failed', 'skipped', 'started']
  const asked = typeof flags.outcome === 'string' ? flags.outcome.split(',') : ['failed', 'skipped']
  const unknown = asked.find((outcome) => !known.some((one) => one === outcome))
  if (unknown !== undefined) throw new UsageError(`--outcome takes ${known.join(', ')}; got ${JSON.stringify(unknown)}.`)
  return known.filter((outcome) => asked.includes(outcome))
}

function limitOf({ flags }: CommandContext, otherwise: number): number {
  if (flags.limit === undefined) return otherwise
  const limit = Number(flags.limit)
  if (!Number.isInteger(limit) || limit < 1)
    throw new UsageError(`--limit takes a whole number above 0; got ${JSON.stringify(flags.limit)}.`)
  return limit
}
