import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { migrate } from '../../src/drivers/postgres/migrations/migrate.ts'
import { type RetentionJob, rotate } from '../../src/drivers/postgres/outbox-retention.ts'
import { PostgresConsumerStore } from '../../src/drivers/postgres/postgres-consumer-store.ts'
import { PostgresOutboxStore } from '../../src/drivers/postgres/postgres-outbox-store.ts'
import { runRelay } from '../../src/outbox/index.ts'
import { message, smallPartitions } from '../outbox/support/outbox-database.ts'
import { WireRecorder } from '../outbox/support/wire-recorder.ts'
import { Pooler, pgbouncer } from '../support/pooler.ts'
import { durableServer } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { clientOf } from './support/client-of.ts'
import { expectNoState } from './support/backend-state.ts'

// What a connection to the server does for itself, and what becomes of it where a pooler gives every transaction another one.
// On a server of its own: a partition stays as long as any transaction of the server could need it, those of other test files included.
const server = await durableServer()
const database = await server.database('sessions')

describe.skipIf(pgbouncer.missing)(`behind PgBouncer${pgbouncer.note}`, () => {
  const pooler = new Pooler({ server: () => database.connection() })
  const pooled = new PostgresDatabase({ connection: () => pooler.connection(database.name), maxConnections: 12 })
  beforeAll(async () => {
    await pooler.start()
    await migrate(pooled, { set: 'service' })
  })
  afterAll(() => pooled.close())
  // Runs first, so that no connection that a failed test has kept can hold it up.
  afterAll(() => pooler.stop())

  test('the removal of a partition keeps its time limit to itself, whether it succeeds or gives way to a reader', async () => {
    const partitionRows = 100
    await smallPartitions(pooled, partitionRows)
    const store = new PostgresOutboxStore({ database: pooled })
    await WireRecorder.create(pooled)
    const broker = new WireRecorder(pooled, { fences: true })
    const settings = { partitionRows, ahead: 3, keepMs: 0, everyMs: 20 }
    const job: RetentionJob = { database: pooled, schema: 'tidemark', deletes: false, settings, onEvent: () => undefined }
    const publishAll = async (count: number): Promise<void> => {
      const messages = Array.from({ length: count }, (_, i) => message(`k${i}`, 1))
      await pooled.transaction((tx) => store.append(tx, messages))
      await using relay = runRelay({ store, broker, idleMs: 5, maintain: false })
      await until('all is published', async () => relay.status().phase === 'owner' && (await store.pending()) === 0)
    }
    const states = async (): Promise<unknown[]> =>
      (await pooled.query('select state from tidemark.outbox_part order by lo limit 2')).map(({ state }) => state)

    await publishAll(2 * partitionRows)
    await rotate(job)
    await publishAll(1)
    const reader = await clientOf(database.connection())
    await reader.query('begin')
    await reader.query('select count(*) from tidemark.outbox')
    await rotate(job)
    await expectNoState(pooler, database)
    expect(await states()).toEqual(['detaching', 'sealed'])

    await reader.query('commit')
    await reader.end()
    await rotate(job)
    // The mark of the second one was drawn while the reader ran.
    await publishAll(1)
    await rotate(job)
    await expectNoState(pooler, database)
    expect(await states()).toEqual(['dropped', 'dropped'])
  })

  test('a frozen owner of a partition is ended by its successor, and nobody else', async () => {
    const store = new PostgresConsumerStore({ database: pooled })
    const topic = { group: 'test', topic: 'frozen', topicId: 't1' }
    await store.makePositions({ topic, lanes: 2, first: [0], later: [0] })
    const [frozen, other] = [await clientOf(pooler.connection(database.name)), await clientOf(pooler.connection(database.name))]
    await frozen.query('begin')
    await frozen.query(`select from tidemark.consumer_position where topic_id = 't1' and lane = 1 for update`)
    await other.query('begin')
    await other.query(`select pg_advisory_xact_lock(1)`)
    const { lanes } = await store.takeOver({ partition: { ...topic, partition: 0 }, lockTimeoutMs: 100 })
    expect(lanes.map(({ epoch }) => epoch)).toEqual([1, 1])
    await expect(frozen.query('commit')).rejects.toThrow()
    expect((await other.query('commit')).command).toBe('COMMIT')
    await Promise.all([frozen.end(), other.end()].map((ending) => ending.catch(() => undefined)))
    await expectNoState(pooler, database)
  })

  test('a take-over that gets no second connection to look for the owner gives the first one back without a transaction', async () => {
    const pool = database.pool({ ...pooler.connection(database.name) })
    let asked = 0
    const scarce = new PostgresDatabase({
      pool: { connect: () => (++asked === 3 ? Promise.reject(new Error('timeout exceeded when trying to connect')) : pool.connect()) },
    })
    const topic = { group: 'test', topic: 'scarce', topicId: 't2' }
    const store = new PostgresConsumerStore({ database: scarce })
    await store.makePositions({ topic, lanes: 1, first: [0], later: [0] })
    asked = 0
    const owner = await clientOf(pooler.connection(database.name))
    await owner.query('begin')
    await owner.query(`select from tidemark.consumer_position where topic_id = 't2' for update`)
    await expect(store.takeOver({ partition: { ...topic, partition: 0 }, lockTimeoutMs: 50 })).rejects.toThrow('timeout exceeded')
    await owner.query('rollback')
    await owner.end()
    const client = await pool.connect()
    expect([asked, pool.totalCount, client.getTransactionStatus()]).toEqual([3, 1, 'I'])
    client.release()
  })

  test('a setting that the pooler does not take is refused with what to do about it', async () => {
    const connectionString = `${pooler.connectionString(database.name)}?options=-c%20statement_timeout%3D1000`
    const refused = new PostgresDatabase({ connectionString })
    await expect(refused.query('select 1')).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(
        /unsupported startup parameter: options.*ignore_startup_parameters.*connect to the server directly/s,
      ) as string,
    })
    await refused.close()
  })

  test('a pooler in statement mode is refused with what to do about it', async () => {
    const strict = new Pooler({ server: () => database.connection(), mode: 'statement' })
    const refused = new PostgresDatabase({ connection: () => strict.connection(database.name) })
    try {
      await strict.start()
      for (const attempt of [() => migrate(refused, { set: 'service' }), () => refused.transaction((tx) => tx.query('select 1'))]) {
        await expect(attempt()).rejects.toMatchObject({
          code: 'CONFIG_INVALID',
          message: expect.stringMatching(/statement pooling.*pool_mode = transaction.*connect to the server directly/s) as string,
        })
      }
    } finally {
      await refused.close()
      await strict.stop()
    }
  })
})
