import type { ErasableStore, ErasedKey, ErasureCount, ErasureLine } from '../../operation/erase.ts'
import type { PostgresDatabase } from './database.ts'
import type { LogEraser } from './log/log-eraser.ts'
import { defaultSchema, quotedSchema } from './migrations/schema-name.ts'
import { insertAudit } from './queries/audit.ts'
import * as queries from './queries/erase.ts'
import type { Statement, StatementResult } from './statement-run.ts'

export interface ErasableStoresOptions {
  readonly database: PostgresDatabase
  /** @default 'tidemark' */
  readonly schema?: string
  /** The log that the service reads and writes, where it is in Postgres. */
  readonly log?: LogEraser
}

const waitsAgain = 'redriven, or dead, since its waiting messages were erased. Erase again.'
const notPublished = 'not published yet. Erase again when the relay has sent them.'

/** Every place of a service in Postgres that keeps the content of messages. The ledger first: it finds its entries by what the others still know. */
export function postgresErasableStores(options: ErasableStoresOptions): readonly ErasableStore[] {
  const { database, log } = options
  const schema = quotedSchema(options.schema ?? defaultSchema)
  const run = (...statements: readonly Statement[]): Promise<StatementResult[]> => database.use((session) => session.run(statements))
  const readyOf = async (statement: Statement): Promise<ErasureCount> => ({ count: Number((await run(statement))[0]!.rows[0]!['ready']) })
  const idsOf = async (key: ErasedKey): Promise<readonly string[]> => {
    const [known] = await run(queries.messageIds(schema, key))
    return [...known!.rows.map(({ id }) => String(id)), ...((await log?.messageIds(key)) ?? [])]
  }
  return [
    {
      name: 'responses of outside calls',
      count: async (key) => readyOf(queries.countResponses(schema, await idsOf(key))),
      erase: async (key) => ({ count: (await run(queries.eraseResponses(schema, await idsOf(key))))[0]!.count }),
    },
    {
      name: 'waiting messages',
      count: (key) => readyOf(queries.countParked(schema, key)),
      erase: (key, line) => eraseParked(database, schema, key, line),
    },
    {
      name: 'dead letters',
      count: (key) => readyOf(queries.countLetters(schema, key)),
      erase: async (key, line) => {
        const results = await run(...queries.eraseLetters(schema, key, actorOf(line)), queries.countLetters(schema, key))
        return { count: results.at(-2)!.count, left: { count: Number(results.at(-1)!.rows[0]!['ready']), why: waitsAgain } }
      },
    },
    {
      name: 'outbox',
      count: async (key) => {
        const [row] = (await run(queries.countOutbox(schema, key)))[0]!.rows
        return { count: Number(row!['ready']), left: { count: Number(row!['waiting']), why: notPublished } }
      },
      erase: async (key) => {
        const [erased, counted] = await run(queries.eraseOutbox(schema, key), queries.countOutbox(schema, key))
        return { count: erased!.count, left: { count: Number(counted!.rows[0]!['waiting']), why: notPublished } }
      },
    },
    ...(log === undefined ? [] : [log]),
  ]
}

/** Waiting messages are discarded, by name: their keys are free then, and what comes later of them is handled. */
function eraseParked(database: PostgresDatabase, schema: string, key: ErasedKey, line: ErasureLine): Promise<ErasureCount> {
  return database.transaction(async (_tx, session) => {
    // Each in a statement of its own: what waits is looked at under the locks of its keys.
    await session.run([queries.lockParkedKeys(schema, key)])
    await session.run([queries.endWaitingLetters(schema, key, actorOf(line))])
    const [deleted] = await session.run([queries.deleteParked(schema, key)])
    await session.run(queries.emptyKeys(schema, key))
    const lines = [...placesByQueue(deleted!)].map(([queue, offsets]) =>
      insertAudit(schema, line('message.discard', { type: 'parked-key', id: queue, details: { offsets } })),
    )
    await session.run(lines)
    return { count: deleted!.count }
  })
}

/** Offsets of what was discarded, by group, topic and partition. Not the key: it may name the person. */
function placesByQueue({ rows }: StatementResult): ReadonlyMap<string, readonly string[]> {
  const places = new Map<string, string[]>()
  for (const { group_name, topic, partition, log_offset } of rows) {
    const queue = `${String(group_name)} ${String(topic)}/${String(partition)}`
    places.set(queue, [...(places.get(queue) ?? []), String(log_offset)])
  }
  return places
}

function actorOf(line: ErasureLine): string {
  return line('message.erase', { type: 'operation', id: null }).actor.id
}
