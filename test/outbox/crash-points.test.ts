import { beforeEach, describe, expect, test } from 'vitest'
import { crashPoints } from '../../src/internal/crash-points.ts'
import { PostgresOutboxStore } from '../../src/drivers/postgres/postgres-outbox-store.ts'
import { type OutboxStore, runRelay } from '../../src/outbox/index.ts'
import { message, outboxDatabase } from './support/outbox-database.ts'
import { startRelay } from './support/start-relay.ts'
import { until } from '../support/until.ts'
import { type ChildProgram, startProgram } from '../support/child-program.ts'
import { WireRecorder, changedRepeats, outOfOrder, withoutRepeats } from './support/wire-recorder.ts'

const { url, database, store: keeping, publish, reset } = await outboxDatabase('crash_points')
await WireRecorder.create(database)

const relayPoints = crashPoints.filter((name) => name.startsWith('relay:'))
/** Only in simple mode a tick takes two round trips. */
const pointsOfKeeping = relayPoints.filter((name) => name !== 'relay:mid-tick')
const parking = ['relay:mid-park', 'relay:after-park', 'relay:mid-checkpoint']
const keys = ['a', 'b', 'c', 'd', 'e']

beforeEach(async () => {
  await reset()
  await database.query('truncate wire, wire_owner')
})

/** 60 messages over five keys, in transactions of three, one of them too large for the broker. */
async function publishSome(from: number): Promise<void> {
  for (let version = from; version < from + 12; version++) {
    await publish(...keys.map((key) => message(key, version)))
  }
}

/** Too large for any broker here, so that its key is parked. */
const large = () => message('large', 1, { payload: Buffer.from(JSON.stringify({ version: 1, pad: 'x'.repeat(200_000) })) })

async function finish(fences: boolean, due: number, store: OutboxStore = keeping): Promise<void> {
  const wire = new WireRecorder(database, { fences, maxRecordBytes: 5_000 })
  await using relay = runRelay({ store, broker: wire, pageSize: 20, leaseMs: 400, idleMs: 5, maintain: false })
  await until('all messages on the wire', async () => new Set((await wire.sent()).map(({ id }) => id)).size === due)
  await until('the last checkpoint', async () => (await database.query('select from tidemark.relay where finished')).length === 1)
  expect(relay.status().error).toBeNull()
}

function expectExact(sent: Awaited<ReturnType<WireRecorder['sent']>>, due: number): void {
  const seen = withoutRepeats(sent)
  expect(seen).toHaveLength(due)
  expect(outOfOrder(seen)).toEqual([])
  expect(changedRepeats(sent)).toEqual([])
}

describe.each(pointsOfKeeping)('a relay killed at %s', (name) => {
  test('is followed by one that loses nothing, repeats only what was sent, and keeps the order', async () => {
    await publishSome(1)
    if (parking.includes(name)) await publish(large())
    const killed = startRelay({ url, fences: false }, { TIDEMARK_CRASH_POINT: name })
    expect((await killed.ended).signal).toBe('SIGKILL')
    await publishSome(13)
    await finish(false, 120)
    expectExact(await new WireRecorder(database, { fences: false }).sent(), 120)
  })
})

describe.each(['relay:after-page', 'relay:after-send'])('a relay frozen at %s', (name) => {
  test('that wakes after its successor has worked sends nothing, and cannot move the checkpoint', async () => {
    await publishSome(1)
    const frozen = startRelay({ url, fences: false }, { TIDEMARK_FREEZE_POINT: name })
    await frozen.untilSaid(/^taken-over$/m)
    await until(
      'it is frozen at its first page',
      async () => (await database.query(`select from tidemark.relay where not finished`)).length === 1,
    )
    await publishSome(13)
    await finish(false, 120)
    const before = await new WireRecorder(database, { fences: false }).count()
    const [row] = await database.query('select tick, done_seq from tidemark.relay')
    frozen.signal('SIGCONT')
    await frozen.untilSaid(/^fenced$/m)
    const sent = await new WireRecorder(database, { fences: false }).sent()
    expect(sent).toHaveLength(before)
    expectExact(sent, 120)
    const [after] = await database.query('select tick, done_seq from tidemark.relay')
    expect(after).toEqual(row)
  })
})

describe.each([
  ['keep', 'relay:mid-park'],
  ['keep', 'relay:mid-checkpoint'],
  ['delete', 'relay:mid-tick'],
  ['delete', 'relay:mid-park'],
  ['delete', 'relay:mid-checkpoint'],
] as const)('with published rows set to %s, a relay frozen inside a transaction at %s', (published, name) => {
  test('keeps its successor waiting for its lease and no longer', async () => {
    const store = new PostgresOutboxStore({ database, published })
    await publishSome(1)
    await publish(large())
    const frozen = startRelay({ url, fences: true, published }, { TIDEMARK_FREEZE_POINT: name })
    await until('it stands still', () => frozen.isFrozen())
    await publishSome(13)
    await finish(true, 120, store)
    frozen.signal('SIGCONT')
    await frozen.untilSaid(/^taken-over$[^]*^taken-over$/m)
    const wire = new WireRecorder(database, { fences: true })
    await publishSome(25)
    await until('it goes on', async () => new Set((await wire.sent()).map(({ id }) => id)).size === 180)
    const sent = await wire.sent()
    if (published === 'keep') expectExact(sent, 180)
    // Without coordinates a reader tells repeats by their ids.
    else expect(outOfOrder(sent.filter(({ id }, i) => sent.findIndex((one) => one.id === id) === i))).toEqual([])
    expect(await database.query('select from tidemark.relay_parked')).toHaveLength(1)
  })
})

const publishPoints = crashPoints.filter((name) => name.startsWith('publish:'))

test.each(publishPoints)('a publisher killed at %s leaves neither the order nor its event', async (name) => {
  await database.query('create table if not exists orders (id text primary key)')
  expect(await startPublisher({ TIDEMARK_CRASH_POINT: name }).ended).toMatchObject({ signal: 'SIGKILL' })
  await until('its transaction is gone', async () => (await counts()).open === 0)
  expect(await counts()).toEqual({ orders: 0, messages: 0, open: 0 })
  expect(await startPublisher({}).ended).toMatchObject({ code: 0 })
  expect(await counts()).toEqual({ orders: 1, messages: 1, open: 0 })
  await database.query('drop table orders')
})

function startPublisher(env: NodeJS.ProcessEnv): ChildProgram {
  return startProgram(new URL('support/publish-process.ts', import.meta.url), [url], { env })
}

async function counts(): Promise<{ orders: number; messages: number; open: number }> {
  const [row] = await database.query<{ orders: number; messages: number; open: number }>(
    `select (select count(*)::int from orders) as orders, (select count(*)::int from tidemark.outbox) as messages,
       (select count(*)::int from pg_stat_activity where datname = current_database() and state like 'idle in transaction%') as open`,
  )
  return row!
}

test('every crash point of outbox and relay stands in the list once, and each is tried above', () => {
  expect(new Set(crashPoints).size).toBe(crashPoints.length)
  expect([relayPoints.length, publishPoints.length]).toEqual([13, 2])
})
