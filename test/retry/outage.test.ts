import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { onMessage } from '../../src/consumer/index.ts'
import { event } from '../../src/message/index.ts'
import {
  Counted,
  byKey,
  consumerDatabase,
  countedRecord,
  memoryTopic,
  sequence,
  settledAll,
} from '../consumer/support/consumer-database.ts'
import { until } from '../support/until.ts'
import { counting } from './support/counting.ts'

const { consume, effects, rows, reset } = await consumerDatabase('outage')

const heard: { readonly what: string; readonly handler: string }[] = []
const hear = (fact: unknown): void => void heard.push(fact as (typeof heard)[number])
afterEach(() => unsubscribe('tidemark:consumer:breaker', hear))

beforeEach(async () => {
  subscribe('tidemark:consumer:breaker', hear)
  heard.length = 0
  await reset()
})

const keys = sequence(12).map((k) => `k${k}`)
const all = (count: number) => sequence(count).flatMap((n) => keys.map((key) => countedRecord(key, n)))
const quick = { maxAttempts: 2, baseDelayMs: 1, maxDelayMs: 5 }
const breaker = { probeAfterMs: 20, maxProbeAfterMs: 50 }
const letters = () => rows('select from tidemark.dead_letter')

test('a downstream that is away pauses the consumer: nothing is charged or dead-lettered, and then it catches up', async () => {
  const { broker, send } = await memoryTopic(1)
  // A real server that is down at first: nobody listens on its port.
  const server = createServer((_, response) => response.end('ok'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  let calls = 0
  const calling = counting(async (_, { signal }) => {
    calls += 1
    const response = await fetch(`http://127.0.0.1:${port}/`, { signal })
    await response.text()
  })
  await send(all(5))
  await using consumer = consume(broker, [calling], { lanes: 3, retry: quick, breaker })
  await until('the breaker is open', () => consumer.status().breaker !== null)
  expect(consumer.status().breaker).toEqual({ handler: 'Counted', errorClass: 'TypeError' })
  const before = calls
  await until('it has probed more than a few times', () => calls > before + 10)
  expect(calls).toBeLessThan(200)
  expect(await effects()).toEqual([])
  expect(await letters()).toEqual([])
  // Nothing was even parked: the batch that opened it was rolled back, and probes stay where they are.
  expect(await rows('select from tidemark.parked_key')).toEqual([])
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  try {
    await settledAll(consumer, broker)
    const done = byKey(await effects())
    for (const key of keys) expect(done.get(key)).toEqual(sequence(5))
    expect(await letters()).toEqual([])
    expect(consumer.status().breaker).toBeNull()
    expect(heard.map(({ what }) => what)).toEqual(['opened', 'closed'])
  } finally {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

test('what was charged before anybody could know gets its charge back', async () => {
  const { broker, send } = await memoryTopic(1)
  let isAway = true
  const away = counting(() => {
    if (isAway) throw Object.assign(new Error('away'), { code: 'ECONNREFUSED' })
  })
  const retry = { maxAttempts: 2, baseDelayMs: 3_600_000, maxDelayMs: 3_600_000, jitter: 'none' as const, immediate: 0 }
  await using consumer = consume(broker, [away], { lanes: 1, retry, breaker })
  const attempts = async () => (await rows<{ attempts: number }>('select attempts from tidemark.parked_key')).map((row) => row.attempts)
  for (const [before, key] of ['k0', 'k1'].entries()) {
    await send([countedRecord(key, 0)])
    await until('it is charged', async () => (await attempts()).filter((count) => count === 1).length === before + 1)
  }
  await send([countedRecord('k2', 0)])
  await until('the breaker is open, and the charges are back', async () => {
    return consumer.status().breaker !== null && (await attempts()).every((count) => count === 0)
  })
  isAway = false
  await settledAll(consumer, broker)
  expect(Object.fromEntries(byKey(await effects()))).toEqual({ k0: [0], k1: [0], k2: [0] })
})

test('so does a fault of the code that every key meets, after a few of them', async () => {
  const { broker, send } = await memoryTopic(1)
  let isBroken = true
  let runs = 0
  const broken = counting(() => {
    runs += 1
    if (isBroken) throw new TypeError('undefined is not a function')
  })
  await send(all(5))
  await using consumer = consume(broker, [broken], {
    lanes: 2,
    retry: { ...quick, maxAttempts: 3 },
    breaker,
  })
  await until('the breaker is open', () => consumer.status().breaker !== null)
  const before = runs
  // More runs than all attempts, if they were counted.
  await until('it has probed again and again', () => runs > before + 40)
  expect(await letters()).toEqual([])
  isBroken = false
  await settledAll(consumer, broker)
  const done = byKey(await effects())
  for (const key of keys) expect(done.get(key)).toEqual(sequence(5))
  expect(await letters()).toEqual([])
})

test('where nothing good comes, failures of the code that go on for too long are charged after all; what is away is not', async () => {
  const { broker, send } = await memoryTopic(1)
  let isAway = false
  let runs = 0
  const failing = counting(({ data }) => {
    runs += 1
    if (isAway) throw Object.assign(new Error('away'), { code: 'ECONNREFUSED' })
    if (data.key !== 'good') throw new TypeError('undefined is not a function')
  })
  await send(all(2))
  const shortly = { probeAfterMs: 1, maxProbeAfterMs: 5, maxAlikeMs: 300 }
  await using consumer = consume(broker, [failing], { lanes: 2, retry: quick, breaker: shortly })
  await until('all are given up, key by key', async () => (await letters()).length === keys.length)
  expect(consumer.status().breaker).toEqual({ handler: 'Counted', errorClass: 'TypeError' })
  const attempts = await rows<{ attempts: number }>('select json_array_length(attempts) as attempts from tidemark.dead_letter')
  expect(attempts).toEqual(keys.map(() => ({ attempts: quick.maxAttempts })))
  // Something goes away while it is open: that is nobody's fault, however long.
  isAway = true
  const before = runs
  await send([countedRecord('late', 0)])
  await until('it was tried again and again', () => runs > before + 20)
  expect(await letters()).toHaveLength(keys.length)
  isAway = false
  await send([countedRecord('good', 0)])
  await until('it has closed', () => consumer.status().breaker === null)
  await until('the good one is handled', async () => byKey(await effects()).has('good'))
})

test('keys that fail beside others that succeed are charged by themselves, and never open it', async () => {
  const { broker, send } = await memoryTopic(1)
  const failing = counting(({ data }) => {
    if (Number(data.key.slice(1)) % 2 === 1) throw Object.assign(new Error('away for this customer'), { code: 'ECONNREFUSED' })
  })
  await send(all(4))
  await using consumer = consume(broker, [failing], { lanes: 1, retry: quick, breaker, batch: { maxMessages: 12 } })
  await settledAll(consumer, broker)
  const done = byKey(await effects())
  for (const key of keys) expect(done.get(key)).toEqual(Number(key.slice(1)) % 2 === 1 ? undefined : sequence(4))
  expect(await letters()).toHaveLength(6)
})

test('what opened it waits parked, and the lanes are busy with another handler: a probe reaches it all the same, and it closes', async () => {
  const { broker, send } = await memoryTopic(1)
  let downstream: 'unknown' | 'away' | 'back' = 'unknown'
  let runs = 0
  const failing = counting(() => {
    runs += 1
    if (downstream === 'unknown') throw new Error('parked')
    if (downstream === 'away') throw Object.assign(new Error(`away for the ${runs}th time`), { code: 'ECONNREFUSED' })
  })
  const Other = event('Other', { aggregate: 'counter', key: ({ key }) => key, schema: Counted.schema })
  let others = 0
  const busy = onMessage(Other, async (_, { tx }) => {
    await tx.query('select pg_sleep(0.002)')
    others += 1
  })
  const retry = { baseDelayMs: 1, maxDelayMs: 5, maxAttempts: 9, immediate: 0 }
  await send(keys.slice(0, 3).map((key) => countedRecord(key, 0)))
  const first = consume(broker, [failing, busy], { retriers: 0, retry, breaker })
  await until('three keys wait', async () => (await rows('select from tidemark.parked_key')).length === 3)
  await first.stop()
  const backlog = 4_000
  await send(sequence(backlog).map((n) => countedRecord('busy', n, { type: 'Other' })))
  downstream = 'away'
  await using consumer = consume(broker, [failing, busy], { lanes: 2, retry, breaker, batch: { maxMessages: 10 } })
  await until('the breaker is open', () => consumer.status().breaker !== null)
  const [runsBefore, othersBefore] = [runs, others]
  await until('what waits is probed, and the lanes go on, message by message', () => runs > runsBefore + 3 && others > othersBefore + 20)
  downstream = 'back'
  await until('it has closed', () => consumer.status().breaker === null)
  await until('all three are handled', async () => (await effects()).length === 3)
  expect(others).toBeLessThan(backlog)
  expect(await letters()).toEqual([])
})

test('good messages behind many bad ones are reached by probes, which do not wait for each other', async () => {
  const { broker, send } = await memoryTopic(1)
  const failing = counting(({ data }) => {
    if (data.key.startsWith('bad')) throw new Error('never')
  })
  await send([...sequence(30).map((n) => countedRecord(`bad${n}`, 0)), ...all(2)])
  await using consumer = consume(broker, [failing], { lanes: 1, retry: quick, breaker })
  await settledAll(consumer, broker)
  const done = byKey(await effects())
  for (const key of keys) expect(done.get(key)).toEqual(sequence(2))
  // Once others succeed, those that do not are charged.
  expect(await letters()).toHaveLength(30)
})

test('without a breaker everything is charged by itself', async () => {
  const { broker, send } = await memoryTopic(1)
  const failing = counting(() => {
    throw Object.assign(new Error('away'), { code: 'ECONNREFUSED' })
  })
  await send(all(1))
  await using consumer = consume(broker, [failing], { retry: quick, breaker: false })
  await settledAll(consumer, broker)
  expect(await letters()).toHaveLength(12)
})

test('a handler that never returns fails by its time limit, its signal is aborted, and its neighbours go on', async () => {
  const { broker, send } = await memoryTopic(1)
  const aborted: unknown[] = []
  const stuck = counting(async ({ data }, { tx, signal }) => {
    await tx.query('select 1')
    if (data.key !== 'k3' || data.n !== 1) return
    await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
      .catch((error: unknown) => aborted.push(error))
      .then(() => new Promise(() => undefined))
  })
  await send(all(3))
  await using consumer = consume(broker, [stuck], { lanes: 2, retry: quick, timeoutMs: 150, drainMs: 200 })
  await settledAll(consumer, broker)
  const done = byKey(await effects())
  for (const key of keys) expect(done.get(key)).toEqual(key === 'k3' ? [0] : sequence(3))
  expect(await rows('select error_class, retry_count from tidemark.dead_letter')).toEqual([
    { error_class: 'HANDLER_TIMEOUT', retry_count: 2 },
  ])
  expect(aborted.length).toBeGreaterThan(1)
})

test.each([false, true])('so does one that never returns after its only statement, or before it (after: %s)', async (effectFirst) => {
  const { broker, send } = await memoryTopic(1)
  const stuck = counting(({ data }) => (data.key === 'k3' && data.n === 1 ? new Promise(() => undefined) : undefined), { effectFirst })
  await send(all(3))
  await using consumer = consume(broker, [stuck], { lanes: 2, retry: quick, timeoutMs: 150, drainMs: 200 })
  await settledAll(consumer, broker)
  const done = byKey(await effects())
  for (const key of keys) expect(done.get(key)).toEqual(key === 'k3' ? [0] : sequence(3))
  expect(await rows('select error_class, retry_count from tidemark.dead_letter')).toEqual([
    { error_class: 'HANDLER_TIMEOUT', retry_count: 2 },
  ])
  expect(consumer.status().trouble).toBeNull()
})

test('the time limit is for each message, however many of a key stand one behind the other', async () => {
  const { broker, send } = await memoryTopic(1)
  const slow = counting(() => new Promise((resolve) => setTimeout(resolve, 20)))
  await send(sequence(40).map((n) => countedRecord('k0', n)))
  await using consumer = consume(broker, [slow], { lanes: 1, retry: quick, timeoutMs: 400 })
  await settledAll(consumer, broker)
  expect(byKey(await effects()).get('k0')).toEqual(sequence(40))
  expect(consumer.status().counts).toMatchObject({ retries: 0, abandonedRuns: 0, handled: 40 })
})
