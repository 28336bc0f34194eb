import type { PostgresDatabase } from '../../drivers/postgres/database.ts'
import { PostgresOutboxOperations } from '../../drivers/postgres/postgres-outbox-operations.ts'
import { PostgresOperationStore } from '../../drivers/postgres/postgres-operation-store.ts'
import { type Action, Audit, type AuditEntry } from '../../operation/index.ts'
import type { KeyRef } from '../../outbox/index.ts'
import { actorFlags, askedBy } from '../actor.ts'
import { type Command, type CommandContext, NotFoundError, UsageError } from '../command.ts'
import { requireYes, schemaOf, withDatabase } from '../connect.ts'
import { dangerFlags, databaseFlags } from '../flags.ts'
import { duration, table } from '../table.ts'

export const outboxParkedCommand: Command = {
  name: 'outbox parked',
  summary: 'Keys whose messages the relay holds back, since the broker refused one',
  example: 'tidemark outbox parked',
  flags: databaseFlags,
  run: (context) =>
    withDatabase(context, async (database) => {
      const parked = await operations(context, database).parked()
      const rows = parked.map((key) => [
        nameOf(key),
        key.held,
        duration(Date.now() - key.parkedAt.getTime()),
        key.releasing ? 'releasing' : 'parked',
        key.reason,
      ])
      return { json: { parked }, text: rows.length === 0 ? 'Nothing is parked.' : table(['key', 'held', 'for', 'state', 'reason'], rows) }
    }),
}

export const outboxReleaseCommand: Command = {
  name: 'outbox release',
  summary: 'Send what was held back of these keys, in order and before anything newer of them',
  example: 'tidemark outbox release order/o-1',
  arguments: 'TYPE/KEY…',
  flags: { ...databaseFlags, ...dangerFlags, ...actorFlags, all: { type: 'boolean', help: 'Every parked key' } },
  run: (context) =>
    withDatabase(context, async (database) => {
      const outbox = operations(context, database)
      const asked = await askedKeys(context, async () => await outbox.parked())
      if (context.flags['dry-run'] === true)
        return { json: { dryRun: true, released: asked.map(plain) }, text: list('Would release', asked) }
      if (context.flags.all === true) requireYes(context, `This releases ${asked.length} key(s).`)
      const lines = new Map<string, AuditEntry>()
      for (const key of asked) lines.set(nameOf(key), await audit(context, database).allow(actionOn(context, 'release', key)))
      const released = await outbox.release(asked, { audit: (key) => lines.get(nameOf(key))! })
      const missing = asked.filter((key) => !released.some((done) => nameOf(done) === nameOf(key)))
      if (released.length === 0 && missing.length > 0) throw new NotFoundError(list('Not parked, or being released already', missing))
      // Some of several: what was done stands, and the exit code says that it is not all.
      const json = { released: released.map(plain), notParked: missing.map(plain) }
      return {
        json,
        text: [list('Released', released), ...(missing.length === 0 ? [] : [list('Not parked', missing)])].join('\n'),
        exitCode: missing.length === 0 ? 0 : 8,
      }
    }),
}

export const outboxDiscardCommand: Command = {
  name: 'outbox discard',
  summary: 'Give up the refused message of a key for good, and release the rest',
  example: 'tidemark outbox discard order/o-1 --reason "replaced by hand" --yes',
  arguments: 'TYPE/KEY',
  flags: {
    ...databaseFlags,
    ...dangerFlags,
    ...actorFlags,
    all: { type: 'boolean', help: 'Every held message of the key, not the refused one alone' },
  },
  run: (context) =>
    withDatabase(context, async (database) => {
      const outbox = operations(context, database)
      if (context.args.length !== 1) throw new UsageError('outbox discard takes one TYPE/KEY.')
      const key = parseKey(context.args[0]!)
      const found = (await outbox.parked()).find((parked) => nameOf(parked) === nameOf(key))
      if (found === undefined) throw new NotFoundError(`${nameOf(key)} is not parked.`)
      const all = context.flags.all === true
      const count = all ? found.held : 1
      if (context.flags['dry-run'] === true)
        return { json: { dryRun: true, key: plain(key), discarded: count }, text: `Would discard ${count} message(s) of ${nameOf(key)}.` }
      requireYes(context, `This discards ${count} message(s) of ${nameOf(key)} for good.`)
      const { actor, ...why } = askedBy(context)
      const discarded = await audit(context, database).within(actionOn(context, 'discard', key), (line) =>
        outbox.discard(key, { actor: actor.id, ...why, all, audit: line }),
      )
      if (discarded === 0) throw new NotFoundError(`${nameOf(key)} is being released already; nothing was discarded.`)
      return { json: { key: plain(key), discarded }, text: `Discarded ${discarded} message(s) of ${nameOf(key)}.` }
    }),
}

function operations(context: CommandContext, database: PostgresDatabase): PostgresOutboxOperations {
  return new PostgresOutboxOperations({ database, schema: schemaOf(context) })
}

function audit(context: CommandContext, database: PostgresDatabase): Audit {
  return new Audit({ store: new PostgresOperationStore({ database, schema: schemaOf(context) }), origin: 'cli' })
}

function actionOn(context: CommandContext, verb: 'release' | 'discard', key: KeyRef): Action {
  return { ...askedBy(context), verb: `outbox.${verb}`, target: { type: 'outbox-key', id: nameOf(key) } }
}

async function askedKeys({ args, flags }: CommandContext, parked: () => Promise<readonly KeyRef[]>): Promise<readonly KeyRef[]> {
  if (flags.all === true && args.length > 0) throw new UsageError('Pass either keys or --all.')
  if (flags.all !== true && args.length === 0) throw new UsageError('Pass one or more TYPE/KEY, or --all.')
  return flags.all === true ? parked() : args.map(parseKey)
}

/** `order/o-1`: the aggregate type ends at the first slash. */
function parseKey(text: string): KeyRef {
  const slash = text.indexOf('/')
  if (slash < 1 || slash === text.length - 1)
    throw new UsageError(`A key is TYPE/KEY, as tidemark outbox parked prints it; got ${JSON.stringify(text)}.`)
  return { aggregateType: text.slice(0, slash), aggregateId: text.slice(slash + 1) }
}

function nameOf({ aggregateType, aggregateId }: KeyRef): string {
  return `${aggregateType}/${aggregateId}`
}

function plain({ aggregateType, aggregateId }: KeyRef): KeyRef {
  return { aggregateType, aggregateId }
}

function list(what: string, keys: readonly KeyRef[]): string {
  return `${what}: ${keys.length === 0 ? 'none' : keys.map(nameOf).join(', ')}`
}
