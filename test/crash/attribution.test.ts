import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { onMessage } from '../../src/consumer/index.ts'
import { PostgresBroker } from '../../src/drivers/postgres/postgres-broker.ts'
import { PostgresDeadLetterStore } from '../../src/drivers/postgres/postgres-dead-letter-store.ts'
import type { Broker } from '../../src/message/index.ts'
import {
  Counted,
  byKey,
  consumerDatabase,
  countEffect,
  countedRecord,
  insertEffect,
  sequence,
  settledAll,
} from '../consumer/support/consumer-database.ts'
import { startConsumer } from '../consumer/support/start-consumer.ts'
import { until } from '../support/until.ts'

/** A message that ends the process which handles it: it is found, and does not keep the others from being handled. */

const { url, database, consume, effects, rows, reset } = await consumerDatabase('attribution')
const broker: Broker = new PostgresBroker({ connectionString: url, maxConnections: 4 })
afterAll(() => broker.close())

const keys = ['a', 'b', 'bad', 'c']
let streams = 0

beforeEach(async () => {
  await reset()
  await broker.topics([{ name: Counted.topic, partitions: 1 }])
})

async function send(count: number): Promise<void> {
  const appender = await broker.appender({
    sourceEpoch: 'attribution.1',
    generation: 1,
    stream: streams++,
    epoch: 1,
    topics: [Counted.topic],
  })
  await appender.append(sequence(count).flatMap((n) => keys.map((key) => countedRecord(key, n, { id: `${streams} ${key} ${n}` }))))
  await appender.close()
}

/** Makes the group known at the end of the log, so that a test sees its own messages only. */
async function begin(): Promise<void> {
  const harmless = onMessage(Counted, () => undefined)
  const first = consume(broker, [harmless], { startFrom: 'latest' })
  await settledAll(first, broker)
  await first.stop()
}

const settings = { url, log: url, lanes: 2, isDeadly: true }

/** Starts one process after the other, as a supervisor does, until one is not ended by the message. Returns how many were. */
async function supervise(
  most: number,
  more: Partial<Parameters<typeof startConsumer>[0]> = {},
): Promise<{ readonly crashes: number; readonly last: ReturnType<typeof startConsumer> }> {
  const letters = (): Promise<unknown[]> => rows(`select from tidemark.dead_letter where state = 'dead'`)
  for (let crashes = 0; crashes <= most; crashes++) {
    const running = startConsumer({ ...settings, ...more })
    const isDead = running.ended.then(() => true)
    const isBuried = until('the message is given up', async () => (await letters()).length > 0).then(() => false)
    isBuried.catch(() => undefined)
    if (!(await Promise.race([isDead, isBuried]))) return { crashes, last: running }
  }
  throw new Error(`${most} processes in a row were ended`)
}

test('is given up with the third process that it has ended alone, and everything else is handled once', async () => {
  await begin()
  await send(20)
  const { crashes, last } = await supervise(6)
  try {
    // The first one was of all that was under way together, and nobody could tell by which of them. The other three were its own.
    expect(crashes).toBe(4)
    await until('the others are done', async () => (await effects()).length === 62)
    const done = byKey(await effects())
    for (const key of keys) expect(done.get(key)).toEqual(key === 'bad' ? [0, 1] : sequence(20))
    expect(await rows('select error_class, state, policy, convert_from(key, $1) as key from tidemark.dead_letter', ['utf8'])).toEqual([
      { error_class: 'PROCESS_CRASHED', state: 'dead', policy: 'block', key: 'bad' },
    ])
    expect(await rows('select messages::int from tidemark.parked_key')).toEqual([{ messages: 18 }])
  } finally {
    last.tell('stop')
    await last.ended
  }
}, 60_000)

describe.each([
  ['by itself', 0],
  ['with others behind it', 5],
])('one that waits, %s,', (_, behind) => {
  test('is given up with the third process that it has ended alone', async () => {
    await begin()
    await send(3 + behind)
    const failing = onMessage(Counted, async ({ id, data }, { tx }) => {
      if (data.key === 'bad' && data.n === 2) throw new Error('dies')
      await tx.query(insertEffect, [id, data.key, data.n])
    })
    const first = consume(broker, [failing], { retry: { baseDelayMs: 1, maxAttempts: 2 } })
    await settledAll(first, broker)
    await first.stop()
    const store = new PostgresDeadLetterStore({ database })
    const [letter] = (await store.list({}, { limit: 1 })).letters
    expect(await store.redrive([{ id: letter!.id }], { actor: 'test' })).toMatchObject([{ outcome: 'redriven' }])
    const { crashes, last } = await supervise(6, { retryLeaseMs: 200 })
    try {
      // The first one was of whatever a retrier had under way.
      expect(crashes).toBe(4)
      expect(await rows('select error_class, state from tidemark.dead_letter')).toEqual([{ error_class: 'PROCESS_CRASHED', state: 'dead' }])
      expect(await rows('select messages::int from tidemark.parked_key')).toEqual([{ messages: behind + 1 }])
    } finally {
      last.tell('stop')
      await last.ended
    }
  }, 60_000)
})

test('an owner that leaves in order leaves no suspects: who comes next marks nothing', async () => {
  await begin()
  const first = startConsumer({ ...settings, isDeadly: false })
  await first.untilSaid(/^taken$/m)
  first.tell('stop')
  expect((await first.ended).code).toBe(0)
  expect(await rows('select from tidemark.consumer_position where taken')).toEqual([])
  await send(5)
  await using consumer = consume(broker, [countEffect])
  await settledAll(consumer, broker)
  expect(await rows('select from tidemark.consumer_position where marks > 0')).toEqual([])
})

test('after a crash what was under way is run one by one, and what came later is not', async () => {
  await begin()
  await send(10)
  const killed = startConsumer({ ...settings, isDeadly: false }, { TIDEMARK_CRASH_POINT: 'consumer:after-handlers:1' })
  expect((await killed.ended).signal).toBe('SIGKILL')
  await using consumer = consume(broker, [countEffect], { lanes: 2 })
  await settledAll(consumer, broker)
  const { batches } = consumer.status().counts
  expect(batches).toBeGreaterThanOrEqual(10)
  expect(await rows('select from tidemark.consumer_position where marks > 0')).not.toEqual([])
  await send(100)
  await settledAll(consumer, broker)
  expect(consumer.status().counts.batches - batches).toBeLessThan(100)
})

test('killed right after a mark, it is followed by one that loses nothing and doubles nothing', async () => {
  await begin()
  await send(10)
  for (const point of ['consumer:after-handlers:1', 'consumer:after-mark:1', 'consumer:after-mark:3']) {
    const killed = startConsumer({ ...settings, isDeadly: false }, { TIDEMARK_CRASH_POINT: point })
    expect((await killed.ended).signal, killed.stderr).toBe('SIGKILL')
  }
  await using consumer = consume(broker, [countEffect])
  await settledAll(consumer, broker)
  for (const [, done] of byKey(await effects())) expect(done).toEqual(sequence(10))
  expect(await rows('select from tidemark.dead_letter')).toEqual([])
})
