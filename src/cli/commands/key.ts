import { type GroupKey, type HeldKey, KeyDesk } from '../../consumer/index.ts'
import { PostgresConsumerStore } from '../../drivers/postgres/postgres-consumer-store.ts'
import { readingGroups } from '../../drivers/postgres/postgres-inbox-store.ts'
import { PostgresKeyHolds } from '../../drivers/postgres/postgres-key-holds.ts'
import { PostgresOperationStore } from '../../drivers/postgres/postgres-operation-store.ts'
import { aggregateTypeOf, topicOf } from '../../message/topic.ts'
import { Audit } from '../../operation/index.ts'
import { actorFlags, askedBy } from '../actor.ts'
import { type Command, type CommandContext, type CommandResult, type FlagSpec, NotFoundError, UsageError } from '../command.ts'
import { schemaOf, withDatabase } from '../connect.ts'
import { dangerFlags, databaseFlags } from '../flags.ts'
import { duration, table } from '../table.ts'

const groupFlag: Readonly<Record<string, FlagSpec>> = {
  group: { type: 'string', value: 'GROUP', help: 'The consumer group (default: the only one that it can be)' },
}
const { 'dry-run': dryRun } = dangerFlags
const changeFlags = { ...databaseFlags, ...groupFlag, ...actorFlags, 'dry-run': dryRun! }

export const keyHoldCommand: Command = {
  name: 'key hold',
  summary: 'Let the messages of a key wait, in order, until it is released; other keys flow',
  example: 'tidemark key hold order/o-1 --group billing --reason "two customers are merged"',
  arguments: 'TYPE/KEY',
  flags: changeFlags,
  run: (context) =>
    withKeys(context, async ({ desk, groupsReading, holds }) => {
      const { topics, key } = keyIn(context, 'key hold')
      const found = await groupsReading(topics)
      const { group, topic } = theOnly(context, found, `No group reads ${topics.join(' or ')}.`)
      if (context.flags['dry-run'] === true) return wouldChange('hold', { group, topic, key })
      const before = (await holds.held(group)).find((one) => isOf(one, { group, topic, key }))
      const held = await desk.hold(topic, key, { group, ...askedBy(context) })
      const done = before === undefined ? 'Held' : `Held already, by ${before.by}`
      return { json: { held: keyJson(held) }, text: `${done}: ${nameOf(held)} of ${group}, ${held.messages} message(s) waiting` }
    }),
}

export const keyReleaseCommand: Command = {
  name: 'key release',
  summary: 'Let a held key go on: what waits runs in order, before anything newer of it',
  example: 'tidemark key release order/o-1 --group billing',
  arguments: 'TYPE/KEY',
  flags: changeFlags,
  run: (context) =>
    withKeys(context, async ({ desk, holds }) => {
      const { topics, key } = keyIn(context, 'key release')
      const found = (await holds.held()).filter((one) => topics.includes(one.topic) && one.key.equals(key))
      const held = theOnly(context, found, `Nobody holds ${nameOf({ topic: topics[0]!, key })}.`)
      if (context.flags['dry-run'] === true) return wouldChange('release', held)
      if (await desk.release(held.topic, key, { group: held.group, ...askedBy(context) })) {
        return { json: { released: keyJson(held) }, text: `Released: ${nameOf(held)} of ${held.group}, ${held.messages} message(s) waited` }
      }
      throw new NotFoundError(`Nobody holds ${nameOf(held)} any more.`)
    }),
}

export const keyListCommand: Command = {
  name: 'key list',
  summary: 'Keys that somebody holds',
  example: 'tidemark key list',
  flags: { ...databaseFlags, group: { type: 'string', value: 'GROUP', help: 'Of this consumer group (default: of all)' } },
  run: (context) =>
    withKeys(context, async ({ desk }) => {
      const { group } = context.flags
      const held = await desk.list(typeof group === 'string' ? { group } : {})
      const rows = held.map((one) => [
        one.group,
        nameOf(one),
        one.messages,
        duration(Date.now() - one.since.getTime()),
        one.by,
        one.reason ?? '-',
      ])
      const text = rows.length === 0 ? 'Nobody holds a key.' : table(['group', 'key', 'waiting', 'for', 'by', 'reason'], rows)
      return { json: { held: held.map(keyJson) }, text }
    }),
}

interface KeyTools {
  readonly desk: KeyDesk
  readonly holds: PostgresKeyHolds
  /** Groups that have a position in one of these topics. */
  groupsReading(topics: readonly string[]): Promise<readonly Pick<GroupKey, 'group' | 'topic'>[]>
}

function withKeys(context: CommandContext, work: (tools: KeyTools) => Promise<CommandResult>): Promise<CommandResult> {
  const schema = schemaOf(context)
  return withDatabase(context, (database) => {
    const holds = new PostgresKeyHolds({ database, schema })
    const consumer = new PostgresConsumerStore({ database, schema })
    const audit = new Audit({ store: new PostgresOperationStore({ database, schema }), origin: 'cli' })
    const groupsReading: KeyTools['groupsReading'] = async (topics) => {
      const found: Pick<GroupKey, 'group' | 'topic'>[] = []
      for (const group of await readingGroups(database, schema)) {
        const read = new Set((await consumer.positions(group)).map(({ topic }) => topic))
        found.push(...topics.filter((topic) => read.has(topic)).map((topic) => ({ group, topic })))
      }
      return found
    }
    return work({ desk: new KeyDesk({ store: () => Promise.resolve(holds), group: '', audit }), holds, groupsReading })
  })
}

/** `order/o-1`, or `outbox.event.order/o-1`: a topic of its own stands for itself. The type ends at the first slash. */
function keyIn({ args }: CommandContext, command: string): { readonly topics: readonly string[]; readonly key: Buffer } {
  const [text = ''] = args
  const slash = text.indexOf('/')
  if (args.length !== 1 || slash < 1 || slash === text.length - 1) {
    throw new UsageError(`${command} takes one TYPE/KEY, such as order/o-1; got ${JSON.stringify(args.join(' '))}.`)
  }
  const type = text.slice(0, slash)
  return { topics: [...new Set([topicOf(aggregateTypeOf(type)), type])], key: Buffer.from(text.slice(slash + 1)) }
}

/** Of the group that was named, or the only one that there is. */
function theOnly<T extends Pick<GroupKey, 'group' | 'topic'>>({ flags }: CommandContext, all: readonly T[], none: string): T {
  const asked = typeof flags.group === 'string' ? all.filter(({ group }) => group === flags.group) : all
  const [first, second] = asked
  if (first === undefined) throw new NotFoundError(all.length === 0 ? none : `The group ${String(flags.group)} does not. ${others(all)}`)
  if (second === undefined) return first
  if (first.group === second.group) throw new UsageError(`It is read in ${first.topic} and in ${second.topic}. Name the topic: TOPIC/KEY.`)
  throw new UsageError(`Say of which group, with --group. ${others(all)}`)
}

function others(all: readonly Pick<GroupKey, 'group'>[]): string {
  return `It can be: ${[...new Set(all.map(({ group }) => group))].join(', ')}.`
}

function wouldChange(verb: string, key: GroupKey): CommandResult {
  return { json: { dryRun: true, [verb]: { ...key, key: key.key.toString() } }, text: `Would ${verb} ${nameOf(key)} of ${key.group}.` }
}

function isOf(one: GroupKey, other: GroupKey): boolean {
  return one.group === other.group && one.topic === other.topic && one.key.equals(other.key)
}

function nameOf({ topic, key }: Pick<GroupKey, 'topic' | 'key'>): string {
  return `${aggregateTypeOf(topic)}/${key.toString()}`
}

function keyJson(held: HeldKey): Readonly<Record<string, unknown>> {
  return { ...held, key: held.key.toString() }
}
