import { type SchemaProblem, redriveParams } from '../../dead-letter/index.ts'
import type { Plan } from '../../operation/index.ts'
import { actorFlags, askedBy } from '../actor.ts'
import { type Command, type CommandContext, type CommandResult, UsageError } from '../command.ts'
import { requireYes } from '../connect.ts'
import { loadEvents } from '../dead-letter/event-definitions.ts'
import { filterFlags, filterOf } from '../dead-letter/filter-flags.ts'
import { idOf } from '../dead-letter/letter-desk.ts'
import { dangerFlags, databaseFlags } from '../flags.ts'
import { type OperationDesk, withOperations } from '../operations.ts'
import { paceFlags, paceIn } from '../pace-flags.ts'
import { duration } from '../table.ts'
import { goOn, planFlag, planned } from './op.ts'

// What is redriven is dead and not archived.
const { state: _state, archived: _archived, ...chosen } = filterFlags

export const dlqRedriveCommand: Command = {
  name: 'dlq redrive',
  summary: 'Give dead letters back to the consumer that failed, key by key in their order, a few at first',
  arguments: '[ID…]',
  example: 'tidemark dlq redrive --type OrderPlaced --since 2h --reason "fixed in 1.4.2" --yes',
  flags: {
    ...databaseFlags,
    ...chosen,
    ...paceFlags,
    ...dangerFlags,
    ...planFlag,
    ...actorFlags,
    'max-redrives': { type: 'string', value: 'N', help: 'Leave letters alone that were redriven so often before (default: 3)' },
    force: { type: 'boolean', help: 'Redrive those, too' },
    events: { type: 'string', value: 'FILE', help: 'Module that exports the events: says which letters they would not understand today' },
  },
  run: async (context) => {
    const { events } = context.flags
    const definitions = typeof events === 'string' ? [...(await loadEvents(events)).values()] : []
    return withOperations(context, (desk) => redrive(context, desk), definitions)
  },
}

async function redrive(context: CommandContext, desk: OperationDesk): Promise<CommandResult> {
  // What was typed wrong is wrong whatever the letters are.
  const params = paramsIn(context)
  const start = { ...askedBy(context), settings: paceIn(context) }
  const plan = await desk.operations.preview('redrive', params, askedBy(context))
  const { flags } = context
  if (plan.count === 0 || flags['dry-run'] === true) {
    return { json: { dryRun: flags['dry-run'] === true, plan }, text: plan.count === 0 ? 'No dead letters like that.' : planText(plan) }
  }
  context.note(planText(plan))
  const stored = await planned(context, desk, () => desk.operations.plan('redrive', params, start))
  if (stored !== null) return stored
  requireYes(context, `This redrives ${plan.count} letter(s).`)
  const { id } = await desk.operations.start('redrive', params, start)
  context.note(`operation ${id}`)
  return goOn(context, desk, id)
}

function paramsIn(context: CommandContext): Readonly<Record<string, unknown>> {
  const { force, 'max-redrives': most } = context.flags
  const ids = context.args.map((arg) => idOf(arg, 'dlq redrive'))
  if (most !== undefined && !/^\d{1,9}$/.test(String(most))) {
    throw new UsageError(`--max-redrives takes a whole number; got ${JSON.stringify(most)}.`)
  }
  return redriveParams({
    filter: { ...filterOf(context.flags, Date.now()), ...(ids.length === 0 ? {} : { ids }) },
    ...(most === undefined ? {} : { maxRedrives: Number(most) }),
    ...(force === true ? { force: true } : {}),
  })
}

/** What a redrive would do. */
function planText({ count, summary }: Plan): string {
  const { oldest, newest, keys, sampled, redrivenTooOften, schemaProblems } = summary
  const age = (time: unknown): string => (time instanceof Date ? `${duration(Date.now() - time.getTime())} ago` : '-')
  const guarded = Number(redrivenTooOften)
  const problems = (schemaProblems ?? []) as readonly SchemaProblem[]
  return [
    `${count} dead letter(s) of ${Number(keys)} key(s), the oldest died ${age(oldest)}, the newest ${age(newest)}`,
    ...(guarded === 0
      ? []
      : [`! ${guarded} of the newest ${Number(sampled)} were redriven too often before and are left alone; --force redrives them, too`]),
    ...problems.map(
      ({ type, problem, count: letters, example }) =>
        `! ${letters} of the newest ${Number(sampled)}: ${type ?? 'no type'}: ${problem}, such as letter ${example}`,
    ),
  ].join('\n')
}
