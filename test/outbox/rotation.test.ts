import { beforeEach, expect, test } from 'vitest'
import { type RetentionJob, rotate } from '../../src/drivers/postgres/outbox-retention.ts'
import { PostgresOutboxStore } from '../../src/drivers/postgres/postgres-outbox-store.ts'
import { type MaintenanceEvent, runRelay } from '../../src/outbox/index.ts'
import { message, outboxDatabase, smallPartitions } from './support/outbox-database.ts'
import { durableServer } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { WireRecorder, outOfOrder } from './support/wire-recorder.ts'

// On a server of its own: a partition stays as long as any transaction of the server could need it, those of other test files included.
const server = await durableServer()
const { database, store, publish, reset } = await outboxDatabase('rotation', {}, (label) => server.database(label))
await WireRecorder.create(database)
const settings = { partitionRows: 100, ahead: 3, keepMs: 0, everyMs: 20 }

beforeEach(async () => {
  await reset()
  await database.query('truncate wire, wire_owner')
  await smallPartitions(database, settings.partitionRows)
})

function job(more: Partial<RetentionJob['settings']> = {}): RetentionJob & { readonly events: MaintenanceEvent[] } {
  const events: MaintenanceEvent[] = []
  return {
    database,
    schema: 'tidemark',
    settings: { ...settings, ...more },
    deletes: false,
    onEvent: (event) => void events.push(event),
    events,
  }
}

async function states(): Promise<string[]> {
  return (await database.query<{ state: string }>('select state from tidemark.outbox_part order by lo')).map(({ state }) => state)
}

async function fill(partitions: number): Promise<void> {
  for (let i = 0; i < partitions; i++) await publish(...Array.from({ length: settings.partitionRows }, (_, n) => message(`k${n}`, i + 1)))
}

async function relayAll(): Promise<void> {
  await using relay = runRelay({ store, broker: new WireRecorder(database, { fences: true }), idleMs: 5, maintain: false })
  await until('all is published', async () => relay.status().phase === 'owner' && (await store.pending()) === 0)
}

test('partitions are made ahead of the numbers, and full ones sealed', async () => {
  await fill(2)
  await rotate(job())
  expect((await states()).slice(0, 3)).toEqual(['sealed', 'open', 'open'])
  const [row] = await database.query<{ ready: number }>(
    'select max(hi)::int - (select max(seq) from tidemark.outbox)::int as ready from tidemark.outbox_part',
  )
  expect(row!.ready).toBeGreaterThanOrEqual(3 * settings.partitionRows)
})

test('a full partition stays until every stream has published it, and no writer, kept age or held row needs it', async () => {
  await fill(2)
  await rotate(job())
  await rotate(job())
  expect((await states())[0]).toBe('sealed')
  await relayAll()
  await rotate(job({ keepMs: 60_000 }))
  expect((await states())[0]).toBe('sealed')
  const [first] = await database.query<{ seq: string; id: string }>('select seq, id from tidemark.outbox order by seq limit 1')
  await database.query(`insert into tidemark.relay_held values (0, $1, $2, 'order', 'k0')`, [first!.seq, first!.id])
  await publish(message('later', 1))
  await relayAll()
  await rotate(job())
  expect((await states())[0]).toBe('sealed')
  await database.query('delete from tidemark.relay_held')
  await rotate(job())
  expect((await states())[0]).toBe('dropped')
})

test('an open writer keeps its partition, also after it is full', async () => {
  const writer = await database.lease()
  await writer.query('begin')
  await writer.query('select pg_current_xact_id()')
  await fill(2)
  await rotate(job())
  await relayAll()
  await publish(message('later', 1))
  await relayAll()
  await rotate(job())
  expect((await states())[0]).toBe('sealed')
  await writer.query('commit')
  writer.release()
  await publish(message('later', 2))
  await relayAll()
  await rotate(job())
  expect((await states())[0]).toBe('dropped')
})

test('a removal that meets a reader gives way, and is finished later', async () => {
  await fill(2)
  await rotate(job())
  await relayAll()
  await publish(message('later', 1))
  await relayAll()
  const reader = await database.lease()
  await reader.query('begin')
  await reader.query('select count(*) from tidemark.outbox')
  await rotate(job())
  expect((await states())[0]).toBe('detaching')
  // Publishers were never held up.
  await publish(message('later', 2))
  await reader.query('commit')
  reader.release()
  await rotate(job())
  expect((await states())[0]).toBe('dropped')
})

test('partitions come and go under writers and a relay, and nothing is lost', { timeout: 60_000 }, async () => {
  // Enough of them for a slow machine; a partition lasts some 50 ms here.
  await smallPartitions(database, settings.partitionRows, 20)
  const rotating = new PostgresOutboxStore({ database, retention: { ...settings, ahead: 20 } })
  const wire = new WireRecorder(database, { fences: true })
  const dropped: string[] = []
  await using relay = runRelay({
    store: rotating,
    broker: wire,
    idleMs: 5,
    onEvent: (event) => {
      if (event.kind === 'partition' && event.change === 'dropped') dropped.push(event.name)
    },
  })
  await until('it works', () => relay.status().phase === 'owner')
  const writers = Array.from({ length: 8 }, async (_, writer) => {
    for (let version = 1; version <= 250; version++) await publish(message(`w${writer}`, version))
  })
  await Promise.all(writers)
  await until('all is published', async () => (await wire.count()) === 2_000)
  await until('old partitions are dropped', () => dropped.length >= 5)
  expect(outOfOrder(await wire.sent())).toEqual([])
})

test('in simple mode a full partition goes when it is empty', async () => {
  const simple = new PostgresOutboxStore({ database, published: 'delete' })
  await fill(2)
  await rotate({ ...job(), deletes: true })
  expect((await states())[0]).toBe('sealed')
  await using relay = runRelay({ store: simple, broker: new WireRecorder(database, { fences: true }), idleMs: 5, maintain: false })
  await until('all is published', async () => relay.status().phase === 'owner' && (await simple.pending()) === 0)
  await rotate({ ...job(), deletes: true })
  expect((await states())[0]).toBe('dropped')
})
