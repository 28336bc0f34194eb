import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Relay, type RelayOccurrence, type RelayOptions, runRelay } from '../../src/outbox/index.ts'
import { PostgresOutboxStore } from '../../src/drivers/postgres/postgres-outbox-store.ts'
import { message, outboxDatabase } from './support/outbox-database.ts'
import { until } from '../support/until.ts'
import { WireRecorder } from './support/wire-recorder.ts'

const { database, store, publish, reset } = await outboxDatabase('ownership')
await WireRecorder.create(database)
const running: Relay[] = []

beforeEach(async () => {
  await reset()
  await database.query('truncate wire, wire_owner')
})
afterEach(() => Promise.all(running.splice(0).map((relay) => relay.stop())))

function start(events: RelayOccurrence[] = [], more: Partial<RelayOptions> = {}): Relay {
  const wire = new WireRecorder(database, { fences: true })
  const relay = runRelay({
    store,
    broker: wire,
    idleMs: 5,
    leaseMs: 300,
    maintain: false,
    onEvent: (event) => void events.push(event),
    ...more,
  })
  running.push(relay)
  return relay
}

test('of two relays one works and the other stands by, for as long as the first is heard of', async () => {
  const first = start()
  await until('the first owns the stream', () => first.status().phase === 'owner')
  const events: RelayOccurrence[] = []
  const second = start(events)
  await until('the second stands by', () => second.status().phase === 'stand-by')
  const [before] = await database.query('select epoch from tidemark.relay')
  const [seen] = await database.query<{ seen_at: Date }>('select seen_at from tidemark.relay')
  await until('three leases have passed', async () => {
    const [now] = await database.query<{ passed: boolean }>(`select clock_timestamp() > $1::timestamptz + interval '900 ms' as passed`, [
      seen!.seen_at,
    ])
    return now!.passed
  })
  expect(await database.query('select epoch from tidemark.relay')).toEqual([before])
  expect(events.filter(({ kind }) => kind === 'taken-over')).toEqual([])
})

test('a clean stop hands the stream over at once', async () => {
  const first = start([], { leaseMs: 60_000 })
  await until('the first owns the stream', () => first.status().phase === 'owner')
  const second = start([], { leaseMs: 60_000 })
  await until('the second stands by', () => second.status().phase === 'stand-by')
  await first.stop()
  await until('the second owns the stream', () => second.status().phase === 'owner', 5_000)
})

test('a stop publishes what was committed before it', async () => {
  const relay = start([], { idleMs: 60_000 })
  await until('it owns the stream', () => relay.status().phase === 'owner')
  await publish(message('a', 1), message('a', 2))
  await relay.stop()
  expect(await new WireRecorder(database, { fences: true }).count()).toBe(2)
})

test('a relay superseded by force stands by, or ends when asked to', async () => {
  const patient = start()
  await until('it owns the stream', () => patient.status().phase === 'owner')
  await database.query(`update tidemark.relay set epoch = epoch + 1, owner = 'somebody', seen_at = clock_timestamp() + interval '1 minute'`)
  await publish(message('a', 1))
  await until('it stands by', () => patient.status().phase === 'stand-by')
  await patient.stop()

  await database.query('update tidemark.relay set owner = null')
  const impatient = start([], { whenFenced: 'stop' })
  await until('it has published', async () => (await new WireRecorder(database, { fences: true }).count()) === 1)
  await database.query(`update tidemark.relay set epoch = epoch + 1, owner = 'somebody'`)
  await publish(message('a', 2))
  await expect(impatient.done).rejects.toMatchObject({ code: 'RELAY_FENCED' })
})

test('a relay whose connections are cut goes on, and nothing is lost', async () => {
  const events: RelayOccurrence[] = []
  const relay = start(events)
  await publish(message('a', 1))
  await until('it works', () => relay.status().published === 1)
  await database.query(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
  )
  await publish(message('a', 2)).catch(() => publish(message('a', 2)))
  await until('it works again', async () => (await new WireRecorder(database, { fences: true }).count()) >= 2)
  expect(events.some(({ kind }) => kind === 'failed')).toBe(true)
})

test('another number of streams than the stored one is refused', async () => {
  const relay = start()
  await until('the stream is known', () => relay.status().phase === 'owner')
  const other = runRelay({
    store: new PostgresOutboxStore({ database, streams: 2 }),
    broker: new WireRecorder(database, { fences: true }),
    stream: 1,
  })
  await expect(other.done).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('streams: 1') })
})

test('the view shows the columns of the textbooks, and published_at only for what is on the wire', async () => {
  await publish(message('a', 1))
  const columns = 'id, aggregate_type, aggregate_id, event_type, payload, created_at, published_at'
  expect(await database.query(`select ${columns} from tidemark.outbox_messages`)).toMatchObject([
    { aggregate_type: 'order', event_type: 'Changed', published_at: null },
  ])
  const relay = start()
  await until('it is published', () => relay.status().published === 1)
  await relay.stop()
  const [row] = await database.query<{ created_at: Date; published_at: Date }>(`select ${columns} from tidemark.outbox_messages`)
  expect(row!.published_at.getTime()).toBeGreaterThanOrEqual(row!.created_at.getTime())
  await publish(message('a', 2))
  expect(await database.query('select published_at is null as waits from tidemark.outbox_messages order by created_at')).toEqual([
    { waits: false },
    { waits: true },
  ])
})
