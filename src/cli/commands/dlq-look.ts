import type { LetterPage } from '../../dead-letter/index.ts'
import { actorFlags } from '../actor.ts'
import { type Command, type CommandContext, type CommandResult, UsageError } from '../command.ts'
import { filterFlags, filterOf } from '../dead-letter/filter-flags.ts'
import { type LetterDesk, found, oneIdOf, withLetters } from '../dead-letter/letter-desk.ts'
import { detailJson, detailText, keyText, letterJson, letterTable, short, shownBytes } from '../dead-letter/letter-text.ts'
import { databaseFlags } from '../flags.ts'
import { duration, table } from '../table.ts'

/** Deaths within this time are called recent. */
const recentMs = 300_000

export const dlqStatsCommand: Command = {
  name: 'dlq stats',
  summary: 'How many dead letters there are, by group, type and reason, who owns them, and consumers without an owner',
  example: 'tidemark dlq stats',
  flags: { ...databaseFlags, 'fail-if-any': { type: 'boolean', help: 'Exit code 3 where there are any' } },
  run: (context) =>
    withLetters(context, async (desk) => {
      const now = Date.now()
      const stats = await desk.manager.getDeadLetterStats()
      const contacts = new Map((await desk.alerts.contacts()).map((contact) => [contact.group, contact]))
      const groups = (await desk.store.byGroup(new Date(now - recentMs))).map(({ example, ...group }) => ({
        ...group,
        owner: contacts.get(group.group)?.owner ?? null,
        runbook: contacts.get(group.group)?.runbook ?? null,
        newestId: example.id,
      }))
      const counts = new Map(groups.map(({ group, count }) => [group, count]))
      const known = [...new Set([...counts.keys(), ...contacts.keys(), ...(await desk.groups())])].sort()
      const ownerless = known.filter((group) => (contacts.get(group)?.owner ?? null) === null)
      const findings = [...noOwner(ownerless, counts), ...splitKeys(await desk.splitKeys())]
      const exitCode = context.flags['fail-if-any'] === true && stats.totalCount > 0 ? 3 : 0
      const rows = groups.map((one) => [
        one.group,
        one.count,
        one.recent,
        duration(now - one.oldest.getTime()),
        duration(now - one.newest.getTime()),
        one.owner,
        one.runbook,
      ])
      const lines = [
        stats.totalCount === 0 ? 'No dead letters.' : `${stats.totalCount} dead letter(s)`,
        ...(rows.length === 0 ? [] : ['', table(['group', 'letters', 'last 5 min', 'oldest', 'newest', 'owner', 'runbook'], rows)]),
        ...counted('type', stats.byEventType),
        ...counted('reason', stats.byFailureReason),
        ...findings.map(({ message, remedy }) => `! ${message} ${remedy}`),
      ]
      return { json: { ...stats, groups, findings }, text: lines.join('\n'), exitCode }
    }),
}

export const dlqListCommand: Command = {
  name: 'dlq list',
  summary: 'Dead letters, newest first',
  example: 'tidemark dlq list --group billing --since 2h',
  flags: { ...databaseFlags, ...filterFlags, ...pageFlags(), 'fail-if-any': { type: 'boolean', help: 'Exit code 3 where there are any' } },
  run: (context) =>
    withLetters(context, async ({ manager }) => page(context, await manager.list(filterOf(context.flags, Date.now()), pageIn(context)))),
}

export const dlqSearchCommand: Command = {
  name: 'dlq search',
  summary: 'Dead letters in whose reason, id, key or type a text occurs, whatever became of them',
  example: 'tidemark dlq search "no such customer" --in-payload',
  arguments: 'TEXT',
  flags: { ...databaseFlags, ...filterFlags, ...pageFlags() },
  run: (context) => {
    if (context.args.length !== 1) throw new UsageError('dlq search takes one TEXT; put it in quotes.')
    const [text] = context.args
    return withLetters(context, async ({ manager }) =>
      page(context, await manager.search(text!, filterOf(context.flags, Date.now()), pageIn(context))),
    )
  },
}

export const dlqGroupsCommand: Command = {
  name: 'dlq groups',
  summary: 'Letters that died alike: same consumer, type, error and place in the code',
  example: 'tidemark dlq groups --since 1d',
  flags: { ...databaseFlags, ...filterFlags, limit: { type: 'string', value: 'N', help: 'At most so many (default: 50)' } },
  run: (context) =>
    withLetters(context, async ({ manager }) => {
      const now = Date.now()
      const groups = await manager.groups(filterOf(context.flags, now), limitOf(context))
      const headings = ['letters', 'came back', 'last', 'group', 'type', 'error', 'thrown at', 'example', 'reason', 'fingerprint']
      const rows = groups.map((one) => [
        one.count,
        one.cameBack,
        `${duration(now - one.lastDiedAt.getTime())} ago`,
        one.group,
        one.type,
        one.errorClass,
        short(one.frame, 50),
        one.example.id,
        short(one.example.reason, 50),
        one.fingerprint,
      ])
      return { json: { groups }, text: rows.length === 0 ? 'No dead letters.' : table(headings, rows) }
    }),
}

export const dlqShowCommand: Command = {
  name: 'dlq show',
  summary: 'One dead letter with its attempts, headers and history; its payload where asked for',
  example: 'tidemark dlq show 17 --payload',
  arguments: 'ID',
  flags: { ...databaseFlags, ...actorFlags, payload: { type: 'boolean', help: 'Show the payload; who looked is kept in the audit log' } },
  run: (context) => {
    const id = oneIdOf(context, 'dlq show')
    return withLetters(context, async ({ manager, store, why }) => {
      const withPayload = context.flags.payload === true
      const letter = found(id, withPayload ? ((await manager.get(id, why))?.context ?? null) : await store.get(id))
      return { json: { letter: detailJson(letter, withPayload) }, text: detailText(letter, withPayload) }
    })
  },
}

/** Something that somebody should see to. */
interface Finding {
  readonly finding: 'no-owner' | 'split-keys'
  readonly group: string
  readonly message: string
  readonly remedy: string
}

/** A finding before the first letter: then it is too late to ask whom it concerns. */
function noOwner(groups: readonly string[], counts: ReadonlyMap<string, number>): readonly Finding[] {
  return groups.map((group) => ({
    finding: 'no-owner',
    group,
    message: counts.has(group) ? `${group} has ${counts.get(group)} dead letter(s) and no owner.` : `${group} has no owner.`,
    remedy: 'Give the consumer one, with the option owner.',
  }))
}

/** Whoever redrives or discards one of them must know of the other. */
function splitKeys(found: Awaited<ReturnType<LetterDesk['splitKeys']>>): readonly Finding[] {
  return found.flatMap(([group, topics]) =>
    topics.map(({ topic, keys, partitions, examples }) => {
      const shown = examples.map((one) => `${short(keyText(one.key), 30)} (${one.partitions.join(', ')})`).join('; ')
      return {
        finding: 'split-keys',
        group,
        topic,
        keys,
        partitions,
        examples: examples.map((one) => ({ ...one, key: shownBytes(one.key) })),
        message: `${group}: ${keys} key(s) of ${topic} wait in more than one partition, each tried again by itself: ${shown}${keys > examples.length ? '; …' : ''}.`,
        remedy: 'No order holds between them: see addedPartitions, and whether all senders choose the partition of a key alike.',
      }
    }),
  )
}

function pageIn(context: CommandContext): { readonly limit: number; readonly after?: string } {
  const { after } = context.flags
  return { limit: limitOf(context), ...(typeof after === 'string' ? { after } : {}) }
}

function page(context: CommandContext, { letters, next }: LetterPage): CommandResult {
  if (next !== null) context.note(`There are more: --after ${JSON.stringify(next)}`)
  const exitCode = context.flags['fail-if-any'] === true && letters.length > 0 ? 3 : 0
  const text = letters.length === 0 ? 'No dead letters.' : letterTable(letters, Date.now())
  return { json: { letters: letters.map(letterJson), next }, text, exitCode }
}

function pageFlags(): Command['flags'] {
  return {
    limit: { type: 'string', value: 'N', help: 'At most so many (default: 50)' },
    after: { type: 'string', value: 'MARK', help: 'The page after the one that gave this mark' },
  }
}

function limitOf({ flags: { limit = '50' } }: CommandContext): number {
  if (typeof limit === 'string' && /^[1-9]\d{0,4}$/.test(limit)) return Number(limit)
  throw new UsageError(`--limit: expected a whole number from 1 to 99999, got ${JSON.stringify(limit)}.`)
}

/** The ten most frequent. */
function counted(what: string, counts: Readonly<Record<string, number>>): readonly string[] {
  const rows = Object.entries(counts).map(([name, count]) => [count, short(name, 100)] as const)
  if (rows.length === 0) return []
  const more = rows.length > 10 ? [`… and ${rows.length - 10} more; --json has all`] : []
  return ['', table(['letters', what], rows.slice(0, 10)), ...more]
}
