import type { Plan } from '../../operation/index.ts'
import { aggregateTypeOf, topicOf } from '../../message/topic.ts'
import { actorFlags, askedBy } from '../actor.ts'
import { type Command, type CommandContext, type CommandResult, UsageError } from '../command.ts'
import { requireYes } from '../connect.ts'
import { dangerFlags, databaseFlags } from '../flags.ts'
import { inForeground } from '../foreground.ts'
import { type OperationDesk, withOperations } from '../operations.ts'
import { brokerFlags } from '../relay-broker.ts'
import { table } from '../table.ts'
import { planFlag, planned } from './op.ts'

export const eraseCommand: Command = {
  name: 'erase',
  summary: 'Erase the content of all messages of one key, in every store that keeps them; places and ids stay',
  example: 'tidemark erase --key customer/c-17 --reason "request 4711" --yes',
  flags: {
    ...databaseFlags,
    ...brokerFlags,
    ...dangerFlags,
    ...planFlag,
    ...actorFlags,
    key: { type: 'string', value: 'TYPE/KEY', help: 'Aggregate type, or topic, and key: the type ends at the first slash' },
    topics: {
      type: 'string',
      value: 'TOPIC,…',
      help: 'Further topics that its messages stand in, such as retry topics with names of their own',
    },
  },
  run: (context) => withOperations(context, (desk) => erase(context, desk)),
}

async function erase(context: CommandContext, desk: OperationDesk): Promise<CommandResult> {
  const params = keyIn(context)
  const plan = await desk.operations.preview('erase', params, askedBy(context))
  if (context.flags['dry-run'] === true) return { json: { dryRun: true, plan }, text: planText(plan) }
  context.note(planText(plan))
  // Each store is tried, whatever becomes of the others.
  const start = { ...askedBy(context), settings: { canary: [1], maxFailures: 1 } }
  const stored = await planned(context, desk, () => desk.operations.plan('erase', params, start))
  if (stored !== null) return stored
  requireYes(context, `This erases the content of ${plan.count} message(s) for good.`)
  const { id } = await desk.operations.start('erase', params, start)
  const result = await inForeground(context, desk, id, { onInterrupt: 'pause', work: true })
  const items = await desk.operations.items(id)
  const rows = items.map(({ data, outcome, reason }) => [String(data['store']), outcome, reason])
  const remaining = remainingIn(plan)
  return {
    ...result,
    json: { ...result.json, items, remaining },
    text: [table(['store', 'outcome', 'result'], rows), ...remaining.map((line) => `! ${line}`)].join('\n'),
  }
}

/** `customer/c-17`, or `outbox.event.customer/c-17`: a topic of its own stands for itself. */
function keyIn({ flags }: CommandContext): { readonly aggregateType: string; readonly topics: readonly string[]; readonly key: string } {
  const text = typeof flags.key === 'string' ? flags.key : ''
  const slash = text.indexOf('/')
  if (slash < 1 || slash === text.length - 1) {
    throw new UsageError(`--key takes TYPE/KEY, such as customer/c-17; got ${JSON.stringify(flags.key ?? '')}.`)
  }
  const [type, key] = [text.slice(0, slash), text.slice(slash + 1)]
  const aggregateType = aggregateTypeOf(type)
  const more = typeof flags.topics === 'string' ? flags.topics.split(',').map((topic) => topic.trim()) : []
  if (more.includes('')) throw new UsageError(`--topics takes names with commas between; got ${JSON.stringify(flags.topics)}.`)
  return { aggregateType, topics: [...new Set([type, topicOf(aggregateType), ...more])], key }
}

interface StoreCount {
  readonly store: string
  readonly count: number
  readonly left?: { readonly count: number; readonly why: string }
}

function planText(plan: Plan): string {
  const counts = plan.summary['stores'] as readonly StoreCount[]
  const rows = counts.map(({ store, count, left }) => [
    store,
    count,
    left === undefined || left.count === 0 ? '' : `${left.count} ${left.why}`,
  ])
  return [table(['store', 'messages', 'stays for now'], rows), ...remainingIn(plan).map((line) => `! ${line}`)].join('\n')
}

function remainingIn({ summary }: Plan): readonly string[] {
  return summary['remaining'] as readonly string[]
}
