import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { onMessage } from '../../src/consumer/index.ts'
import { PostgresBroker } from '../../src/drivers/postgres/postgres-broker.ts'
import { crashPoints } from '../../src/internal/crash-points.ts'
import type { Broker } from '../../src/message/index.ts'
import {
  Counted,
  byKey,
  consumerDatabase,
  countedRecord,
  insertEffect,
  sequence,
  settledAll,
} from '../consumer/support/consumer-database.ts'
import { startConsumer } from '../consumer/support/start-consumer.ts'
import { until } from '../support/until.ts'

/**
 * P1 to P4 for the consumer: killed between any two steps, or frozen there until others have done its work, every message takes effect once, in
 * the order of its key, and ends somewhere visible.
 */

const { url, consume, effects, rows, settledByAny, reset } = await consumerDatabase('consumer_crash')
const broker: Broker = new PostgresBroker({ connectionString: url, maxConnections: 4 })
afterAll(() => broker.close())

const partitions = 2
const keys = ['a', 'b', 'c', 'bad', 'd', 'e']
let streams = 0

beforeEach(async () => {
  await reset()
  await broker.topics([{ name: Counted.topic, partitions }])
})

/** Messages `from` up to `to` of every key. Each test sends its own, from where the log ends. */
async function send(from: number, to: number): Promise<void> {
  const appender = await broker.appender({ sourceEpoch: 'crash.1', generation: 1, stream: streams++, epoch: 1, topics: [Counted.topic] })
  const records = sequence(to - from, from).flatMap((n) =>
    keys.map((key) => countedRecord(key, n, { partitions, id: `${streams} ${key} ${n}` })),
  )
  await appender.append(records)
  await appender.close()
}

const poisoned = onMessage(Counted, async ({ id, data }, { tx }) => {
  if (data.key === 'bad' && data.n === 2) throw new Error('poison')
  await tx.query(insertEffect, [id, data.key, data.n])
})

const successor = () =>
  consume(broker, [poisoned], { startFrom: 'latest', lockTimeoutMs: 300, batch: { maxMessages: 10 }, lanes: 2, sessionTimeoutMs: 1_500 })

async function expectPromises(count: number): Promise<void> {
  const done = byKey(await effects())
  for (const key of keys) expect([key, done.get(key)]).toEqual([key, key === 'bad' ? [0, 1] : sequence(count)])
  const queue = await rows<{ dead: boolean }>('select dead from tidemark.parked_msg order by log_offset')
  expect(queue.map(({ dead }) => dead)).toEqual(sequence(count - 2).map((n) => n === 0))
  expect(await rows('select from tidemark.parked_key')).toHaveLength(1)
  expect(await rows('select from tidemark.dead_letter')).toHaveLength(1)
}

/** Of the one that is killed or frozen: how long others wait until they take its partitions, and what it was trying again. */
const short = { sessionTimeoutMs: 700, retryLeaseMs: 1_000 }

/** Makes the group known at the ends of the log, so that a test sees its own messages only. */
async function begin(): Promise<void> {
  const first = successor()
  await settledAll(first, broker)
  await first.stop()
}

// What goes before it is a crash itself: see `test/crash/attribution.test.ts`.
const points = crashPoints.filter((name) => name.startsWith('consumer:') && name !== 'consumer:after-mark')

/** Points that are reached again and again, and so may be survived the first time only. */
const often = ['consumer:after-handlers', 'consumer:after-compare-and-set', 'consumer:after-appends', 'consumer:after-commit']

describe.each(points)('a consumer killed at %s', (name) => {
  test.each(often.includes(name) ? [1, 4] : [1])(
    'for the time %i is followed by one that loses nothing and doubles nothing',
    async (time) => {
      await begin()
      await send(0, 10)
      const killed = startConsumer({ url, log: url, ...short }, { TIDEMARK_CRASH_POINT: `${name}:${time}` })
      if (name.startsWith('consumer:at-lane') || name.startsWith('consumer:after-lanes')) {
        await until('it owns both partitions', () => killed.timesSaid('taken') === 2)
        killed.tell('lanes 5')
      }
      expect((await killed.ended).signal, killed.stderr).toBe('SIGKILL')
      await send(10, 20)
      await using consumer = successor()
      await settledAll(consumer, broker)
      await expectPromises(20)
    },
  )
})

const freezePoints = [
  'consumer:before-take-over',
  'consumer:after-take-over',
  'consumer:after-handlers',
  'consumer:after-compare-and-set',
  'consumer:after-appends',
  'consumer:after-commit',
]

describe.each(freezePoints)('a consumer frozen at %s', (name) => {
  test('does not keep its successor waiting, and on waking changes nothing of what was done meanwhile', async () => {
    await begin()
    await send(0, 10)
    const frozen = startConsumer({ url, log: url, ...short }, { TIDEMARK_FREEZE_POINT: name })
    await until('it stands still', () => frozen.isFrozen())
    const consumer = successor()
    await settledAll(consumer, broker)
    await expectPromises(10)
    frozen.signal('SIGCONT')
    await until(
      'it has heard that it lost its partitions',
      () => frozen.timesSaid('abandoned') + frozen.timesSaid('released') + frozen.timesSaid('fenced') > 0,
    )
    await send(10, 20)
    await settledByAny(broker)
    await consumer.stop()
    await send(20, 30)
    await settledByAny(broker)
    await expectPromises(30)
    frozen.tell('stop')
    expect((await frozen.ended).code, frozen.stderr).toBe(0)
  })
})

test('a consumer frozen inside a handler, with rows of its own locked, keeps nobody waiting, and on waking commits nothing', async () => {
  await rows('create table if not exists once (id text primary key)')
  await begin()
  await send(0, 1)
  const frozen = startConsumer({ url, log: url, ...short, waits: true })
  await frozen.untilSaid(/^inserted$/m)
  frozen.signal('SIGSTOP')
  await until('it stands still', () => frozen.isFrozen())
  await using consumer = consume(
    broker,
    [
      onMessage(Counted, async ({ id, data }, { tx }) => {
        await Promise.all([tx.query('insert into once (id) values ($1)', [id]), tx.query(insertEffect, [id, data.key, data.n])])
      }),
    ],
    { startFrom: 'latest', lockTimeoutMs: 300, lanes: 2, sessionTimeoutMs: 1_500 },
  )
  await settledAll(consumer, broker)
  frozen.signal('SIGCONT')
  frozen.tell('go on')
  await until('it has heard that it lost its partitions', () => frozen.timesSaid('abandoned') + frozen.timesSaid('fenced') > 0)
  frozen.tell('stop')
  expect((await frozen.ended).code, frozen.stderr).toBe(0)
  expect(await rows('select from once')).toHaveLength(keys.length)
  expect([...byKey(await effects())].sort()).toEqual(keys.map((key) => [key, [0]] as [string, number[]]).sort())
})

test('every crash point of the consumer stands in the list once', () => {
  expect(new Set(points).size).toBe(points.length)
  expect(points.length).toBeGreaterThanOrEqual(9)
})
