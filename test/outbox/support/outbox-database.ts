import { afterAll } from 'vitest'
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { migrate } from '../../../src/drivers/postgres/migrations/migrate.ts'
import { makePartition } from '../../../src/drivers/postgres/queries/partitions.ts'
import { PostgresOutboxOperations } from '../../../src/drivers/postgres/postgres-outbox-operations.ts'
import { type PostgresOutboxOptions, PostgresOutboxStore } from '../../../src/drivers/postgres/postgres-outbox-store.ts'
import { uuidv7 } from '../../../src/internal/uuid.ts'
import type { OutboxMessage } from '../../../src/message/outbox-message.ts'
import { type TestDatabase, testDatabase } from '../../support/postgres.ts'

/** A database with an outbox, for one test file. Call it at the top level. */
export interface OutboxDatabase {
  readonly url: string
  readonly database: PostgresDatabase
  readonly store: PostgresOutboxStore
  readonly operations: PostgresOutboxOperations
  /** Publishes in a transaction of its own. */
  publish(...messages: readonly OutboxMessage[]): Promise<void>
  /** Empties the outbox and forgets the relay, for the next test of the file. */
  reset(): Promise<void>
}

export async function outboxDatabase(
  label: string,
  options: Partial<PostgresOutboxOptions> = {},
  make: (label: string) => Promise<TestDatabase> = testDatabase,
): Promise<OutboxDatabase> {
  const { connectionString } = await make(label)
  const url = connectionString()
  const database = new PostgresDatabase({ connectionString: url, maxConnections: 30 })
  afterAll(() => database.close())
  await migrate(database, { set: 'service' })
  const store = new PostgresOutboxStore({ database, ...options })
  return {
    url,
    database,
    store,
    operations: new PostgresOutboxOperations({ database }),
    publish: (...messages) => database.transaction((tx) => store.append(tx, messages)),
    reset: async () => {
      await database.query('truncate tidemark.outbox, tidemark.relay, tidemark.relay_parked, tidemark.relay_held, tidemark.relay_discarded')
      await database.query('truncate tidemark.relay_topic, tidemark.relay_tick, tidemark.relay_skip')
    },
  }
}

/** A message of a key with a version, to tell order and loss by. */
export function message(key: string, version: number, more: Partial<OutboxMessage> = {}): OutboxMessage {
  const payload = Buffer.from(JSON.stringify({ key, version }))
  return { id: uuidv7(), aggregateType: 'order', aggregateId: key, type: 'Changed', payload, headers: {}, ...more }
}

/** Replaces the partitions of an empty outbox by others, small ones for example, so that some seconds of writing fill several. */
export async function smallPartitions(database: PostgresDatabase, rows: number, count = 4): Promise<void> {
  const schema = '"tidemark"'
  const attached = await database.query<{ name: string }>(
    `select inhrelid::regclass::text as name from pg_inherits where inhparent = 'tidemark.outbox'::regclass`,
  )
  for (const { name } of attached) await database.query(`drop table ${name}`)
  await database.query('delete from tidemark.outbox_part')
  const [last] = await database.query<{ last: string }>('select last_value::text as last from tidemark.outbox_seq_seq')
  const from = Number(last!.last)
  for (let i = 0; i < count; i++) {
    await database.use((session) => session.run(makePartition(schema, from + i * rows, from + (i + 1) * rows)))
  }
}
