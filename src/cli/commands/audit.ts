import { PostgresOperationStore } from '../../drivers/postgres/postgres-operation-store.ts'
import type { AuditEntry, AuditFilter, AuditRecord } from '../../operation/index.ts'
import { type Command, type CommandContext, UsageError } from '../command.ts'
import { schemaOf, withDatabase } from '../connect.ts'
import { databaseFlags } from '../flags.ts'
import { table } from '../table.ts'
import { timeOf } from '../time-flag.ts'
import { withoutSecrets } from '../without-secrets.ts'

const outcomes: readonly AuditEntry['outcome'][] = ['asked', 'done', 'refused', 'failed']

export const auditCommand: Command = {
  name: 'audit',
  summary: 'Who did what, when, why, from where, and how it went; the newest first',
  example: 'tidemark audit --actor ada --since 2d',
  flags: {
    ...databaseFlags,
    actor: { type: 'string', value: 'NAME', help: 'Only what this one did' },
    verb: { type: 'string', value: 'VERB', help: 'Only this, such as dead-letter.redrive' },
    target: { type: 'string', value: 'TYPE[/ID]', help: 'Only what was done to this, such as dead-letter/17 or operation' },
    outcome: { type: 'string', value: 'OUTCOME', help: `Only with this outcome: ${outcomes.join(', ')}` },
    since: { type: 'string', value: 'TIME', help: 'At this time or later: 2026-01-31T12:00Z, or 90m, 12h, 7d ago' },
    before: { type: 'string', value: 'TIME', help: 'Earlier than this time' },
    limit: { type: 'string', value: 'N', help: 'At most so many (default: 50)' },
    after: { type: 'string', value: 'LINE', help: 'The page after the one that ended with this line' },
  },
  run: (context) =>
    withDatabase(context, async (database) => {
      const limit = wholeNumber(context, 'limit') ?? 50
      const store = new PostgresOperationStore({ database, schema: schemaOf(context) })
      // One more than is wanted tells whether there is a next page.
      const found = await store.listAudit({ ...filterOf(context), limit: limit + 1 })
      const lines = found.slice(0, limit).map(shown)
      const next = found.length > limit ? lines.at(-1)!.id : null
      if (next !== null) context.note(`There are more: --after ${next}`)
      return { json: { lines, next }, text: lines.length === 0 ? 'Nothing like that was done.' : linesTable(lines) }
    }),
}

function filterOf(context: CommandContext): AuditFilter {
  const { actor, verb, target, since, before } = context.flags
  const now = Date.now()
  const after = wholeNumber(context, 'after')
  return {
    ...(typeof actor === 'string' ? { actor } : {}),
    ...(typeof verb === 'string' ? { verb } : {}),
    ...(typeof target === 'string' ? { target: targetOf(target) } : {}),
    ...outcomeOf(context),
    ...(typeof since === 'string' ? { from: timeOf('since', since, now) } : {}),
    ...(typeof before === 'string' ? { to: timeOf('before', before, now) } : {}),
    ...(after === undefined ? {} : { before: after }),
  }
}

/** `dead-letter/17`; the type ends at the first slash, so that `outbox-key/order/o-1` has the id `order/o-1`. */
function targetOf(text: string): NonNullable<AuditFilter['target']> {
  const slash = text.indexOf('/')
  return slash < 0 ? { type: text } : { type: text.slice(0, slash), id: text.slice(slash + 1) }
}

function outcomeOf({ flags }: CommandContext): Pick<AuditFilter, 'outcome'> {
  if (flags.outcome === undefined) return {}
  const outcome = outcomes.find((one) => one === flags.outcome)
  if (outcome !== undefined) return { outcome }
  throw new UsageError(`--outcome takes ${outcomes.join(', ')}; got ${JSON.stringify(flags.outcome)}.`)
}

function wholeNumber({ flags }: CommandContext, name: 'limit' | 'after'): number | undefined {
  const value = flags[name]
  if (value === undefined) return undefined
  if (typeof value === 'string' && /^[1-9]\d{0,14}$/.test(value)) return Number(value)
  throw new UsageError(`--${name} takes a whole number above 0; got ${JSON.stringify(value)}.`)
}

/** Whoever gave a reason may have pasted a connection string into it. */
function shown(line: AuditRecord): AuditRecord {
  const details = Object.entries(line.details).map(([name, value]) => {
    if (typeof value === 'string') return [name, withoutSecrets(value)] as const
    return [name, Array.isArray(value) ? value.map((one) => withoutSecrets(String(one))) : value] as const
  })
  return { ...line, reason: line.reason === null ? null : withoutSecrets(line.reason), details: Object.fromEntries(details) }
}

function linesTable(lines: readonly AuditRecord[]): string {
  const headings = ['line', 'at', 'actor', 'roles', 'did', 'to', 'outcome', 'from', 'reason', 'details']
  return table(
    headings,
    lines.map(({ id, at, actor, verb, target, outcome, origin, host, reason, details }) => [
      id,
      at.toISOString(),
      actor.id,
      actor.roles.length === 0 ? null : actor.roles.join(','),
      verb,
      `${target.type}${target.id === null ? '' : `/${target.id}`}`,
      outcome,
      `${origin}@${host}`,
      reason?.replaceAll(/\s+/g, ' ') ?? null,
      Object.keys(details).length === 0 ? null : JSON.stringify(details),
    ]),
  )
}
