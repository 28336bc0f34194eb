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
import { failsAtFirst } from '../consumer/support/counted.ts'
import { startConsumer } from '../consumer/support/start-consumer.ts'
import { until } from '../support/until.ts'

/**
 * P1 to P4 for the retrier: killed between any two of its steps, or frozen there until others have done its work, every message takes effect once, in
 * the order of its key, and ends somewhere visible; and at each of these moments the tables agree with each other.
 */

const { url, consume, effects, rows, reset } = await consumerDatabase('retrier_crash')
const broker: Broker = new PostgresBroker({ connectionString: url, maxConnections: 4 })
afterAll(() => broker.close())

/** `late` fails now and then at its first try, `bad` for good. */
const keys = ['good', 'late', 'bad']
const count = 8
let streams = 0

beforeEach(async () => {
  await reset()
  await broker.topics([{ name: Counted.topic, partitions: 1 }])
})

async function send(): Promise<void> {
  const appender = await broker.appender({ sourceEpoch: 'retry.1', generation: 1, stream: streams++, epoch: 1, topics: [Counted.topic] })
  await appender.append(sequence(count).flatMap((n) => keys.map((key) => countedRecord(key, n, { id: `${streams} ${key} ${n}` }))))
  await appender.close()
}

const handler = onMessage(Counted, async ({ id, data }, { tx, attempt }) => {
  if (data.key === 'bad' && data.n === 2) throw new Error('poison')
  await tx.query(insertEffect, [id, data.key, data.n])
  if (failsAtFirst(data) && attempt === 1) throw new Error('not yet')
})

const fast = { sessionTimeoutMs: 700, lockTimeoutMs: 300, retryLeaseMs: 400 }
const successor = () => consume(broker, [handler], { startFrom: 'latest', retry: { baseDelayMs: 1, maxAttempts: 2 }, lanes: 2, ...fast })

/** Makes the group known at the end of the log, so that a test sees its own messages only. */
async function begin(): Promise<void> {
  const first = successor()
  await settledAll(first, broker)
  await first.stop()
}

/** Of the parked keys and their messages (I6), and of what took effect and what waits (I2): rows that contradict each other. */
async function expectAgreement(): Promise<void> {
  expect(
    await rows(`select convert_from(k.key, 'utf8') as key, k.messages::int, count(m.log_offset)::int as found from tidemark.parked_key k
left join tidemark.parked_msg m using (group_name, topic_id, partition, key_hash) where k.held_by is null
group by k.key, k.messages having count(m.log_offset) <> k.messages or count(m.log_offset) = 0`),
    'keys without the messages they count',
  ).toEqual([])
  expect(
    await rows(`select m.log_offset from tidemark.parked_msg m
left join tidemark.parked_key k using (group_name, topic_id, partition, key_hash) where k.key is null`),
    'messages without their key',
  ).toEqual([])
  expect(
    await rows(`select e.id from effect e join tidemark.parked_msg m on m.headers::text like '%"' || e.id || '"%'`),
    'messages that took effect and wait',
  ).toEqual([])
  expect(
    await rows(`select m.log_offset from tidemark.parked_msg m left join tidemark.dead_letter d using (group_name, topic_id, partition, log_offset)
where m.dead <> (d.state is not distinct from 'dead')`),
    'dead messages without a letter, or the other way round',
  ).toEqual([])
  expect(
    await rows(
      `select m.log_offset from tidemark.parked_msg m where m.log_offset >= (select max(next_offset) from tidemark.consumer_position)`,
    ),
    'messages that wait and come again',
  ).toEqual([])
}

async function expectPromises(): Promise<void> {
  await expectAgreement()
  const done = byKey(await effects())
  for (const key of keys) expect([key, done.get(key)]).toEqual([key, key === 'bad' ? [0, 1] : sequence(count)])
  const queue = await rows<{ dead: boolean }>('select dead from tidemark.parked_msg order by log_offset')
  expect(queue.map(({ dead }) => dead)).toEqual(sequence(count - 2).map((n) => n === 0))
  expect(await rows('select state, error_class from tidemark.dead_letter')).toEqual([{ state: 'dead', error_class: 'Error' }])
}

const points = crashPoints.filter((name) => name.startsWith('retry:'))

test.each(points)('a retrier killed at %s is followed by one that loses nothing and doubles nothing', async (name) => {
  await begin()
  await send()
  const killed = startConsumer({ url, log: url, ...fast }, { TIDEMARK_CRASH_POINT: `${name}:1` })
  expect((await killed.ended).signal, killed.stderr).toBe('SIGKILL')
  await expectAgreement()
  await using consumer = successor()
  await settledAll(consumer, broker)
  await expectPromises()
})

const freezePoints = ['retry:in-lease', 'retry:after-lease', 'retry:after-handler', 'retry:after-key-lock', 'retry:before-failure']

describe.each(freezePoints)('a retrier frozen at %s', (name) => {
  test('keeps nobody waiting for longer than its lease, and on waking changes nothing of what was done meanwhile', async () => {
    await begin()
    await send()
    const frozen = startConsumer({ url, log: url, standstillMs: 500, ...fast }, { TIDEMARK_FREEZE_POINT: name })
    await until('it stands still', () => frozen.isFrozen())
    await expectAgreement()
    await using consumer = successor()
    await settledAll(consumer, broker).catch(async (error: unknown) => {
      const keys = await rows(
        'select convert_from(key, $1) as key, messages, attempts, crashes, lease, lease_until, next_attempt_at, reason from tidemark.parked_key',
        ['utf8'],
      )
      throw new Error(`${String(error)} ${JSON.stringify({ now: new Date(), keys, status: consumer.status() })}`)
    })
    await expectPromises()
    frozen.signal('SIGCONT')
    await until('it has heard that it lost its partition', () => frozen.timesSaid('abandoned') + frozen.timesSaid('fenced') > 0)
    frozen.tell('stop')
    expect((await frozen.ended).code, frozen.stderr).toBe(0)
    await expectPromises()
  })
})

test('every crash point of the retrier is tried', () => {
  expect(points.length).toBeGreaterThanOrEqual(7)
})
