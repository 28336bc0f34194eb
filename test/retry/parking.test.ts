import { beforeEach, describe, expect, test } from 'vitest'
import { onBatch, onMessage } from '../../src/consumer/index.ts'
import { RetryLater, TerminalError, ValidationError } from '../../src/retry/index.ts'
import {
  Counted,
  byKey,
  consumerDatabase,
  countedRecord,
  insertEffect,
  memoryTopic,
  sequence,
  settledAll,
} from '../consumer/support/consumer-database.ts'
import { until } from '../support/until.ts'
import { countedOn } from '../consumer/support/counted.ts'
import { counting } from './support/counting.ts'

const { consume, effects, rows, store, reset } = await consumerDatabase('parking')

beforeEach(async () => {
  await reset()
})

const mixed = (count: number) => sequence(count).flatMap((n) => ['a', 'bad', 'b'].map((key) => countedRecord(key, n)))
const letters = () => rows('select * from tidemark.dead_letter order by log_offset')
const parkedKeys = () =>
  rows<{ key: string; messages: number; bytes: number }>(
    `select convert_from(key, 'utf8') as key, messages::int, bytes::int, attempts from tidemark.parked_key order by 1`,
  )
/** I6, and the counts of what waits. */
const inconsistent = () =>
  rows(`select k.key from tidemark.parked_key k left join lateral (
    select count(*) as messages, sum(m.bytes) as bytes from tidemark.parked_msg m
    where m.group_name = k.group_name and m.topic_id = k.topic_id and m.partition = k.partition and m.key_hash = k.key_hash) m on true
  where m.messages = 0 or m.messages <> k.messages or m.bytes <> k.bytes
  union all select m.key from tidemark.parked_msg m where not exists (select from tidemark.parked_key k
    where m.group_name = k.group_name and m.topic_id = k.topic_id and m.partition = k.partition and m.key_hash = k.key_hash)`)

describe.each([false, true])('a message whose handler fails (after its effect: %s)', (effectFirst) => {
  test('waits with its key, which others of the lane do not; then the key goes on in order', async () => {
    const { broker, send } = await memoryTopic(1)
    await send(mixed(40))
    let isMended = false
    const failing = counting(
      ({ data }) => {
        if (data.key === 'bad' && data.n === 3 && !isMended) throw new Error('not yet')
      },
      { effectFirst },
    )
    const retry = { maxAttempts: 1_000, baseDelayMs: 20, maxDelayMs: 20 }
    await using consumer = consume(broker, [failing], { lanes: 1, retry })
    await until('the neighbours are done', async () => (await effects()).length === 83)
    expect(byKey(await effects()).get('bad')).toEqual([0, 1, 2])
    expect(await parkedKeys()).toMatchObject([{ key: 'bad', messages: 37 }])
    expect(await inconsistent()).toEqual([])
    isMended = true
    await settledAll(consumer, broker)
    expect(Object.fromEntries(byKey(await effects()))).toEqual({ a: sequence(40), bad: sequence(40), b: sequence(40) })
    expect(await parkedKeys()).toEqual([])
    expect(await letters()).toEqual([])
    expect(consumer.status().counts).toMatchObject({ parked: 1, queued: 36, retried: 37, handled: 120 })
  })

  test('and then does not is done in the same batch, and nobody is charged', async () => {
    const { broker, send } = await memoryTopic(1)
    await send(mixed(50))
    const failed = new Set<string>()
    const failing = counting(
      ({ data: { key, n } }) => {
        if (n % 5 !== 0 || failed.has(`${key} ${n}`)) return
        failed.add(`${key} ${n}`)
        throw new Error('the first time')
      },
      { effectFirst },
    )
    await using consumer = consume(broker, [failing], { lanes: 2 })
    await settledAll(consumer, broker)
    expect(Object.fromEntries(byKey(await effects()))).toEqual({ a: sequence(50), bad: sequence(50), b: sequence(50) })
    expect(failed.size).toBe(30)
    expect(consumer.status().counts).toMatchObject({ retries: 0, parked: 0, handled: 150 })
  })
})

test('the attempts are counted, the runs at once are not, and the dead letter has every one of them', async () => {
  const { broker, send } = await memoryTopic(1)
  await send([countedRecord('bad', 1), countedRecord('bad', 2)])
  const attempts: number[] = []
  const failing = counting(({ data }, { attempt }) => {
    if (data.n !== 1) return
    attempts.push(attempt)
    throw new RangeError(`attempt ${attempt}`)
  })
  const retry = { maxAttempts: 4, baseDelayMs: 1, immediate: 2 }
  await using consumer = consume(broker, [failing], { retry })
  await settledAll(consumer, broker)
  expect(attempts).toEqual([1, 1, 1, 2, 3, 4])
  const [letter] = await letters()
  expect(letter).toMatchObject({ state: 'dead', policy: 'block', retry_count: 4, error_class: 'RangeError', reason: 'attempt 4' })
  expect(letter!['attempts']).toMatchObject([1, 2, 3, 4].map((n) => ({ error: `attempt ${n}` })))
  expect(String(letter!['frame'])).toContain('parking.test.ts')
  expect(await rows('select next_attempt_at::text as at, messages::int from tidemark.parked_key')).toEqual([
    { at: 'infinity', messages: 2 },
  ])
  expect(await inconsistent()).toEqual([])
})

test.each([
  ['TerminalError', () => new TerminalError('never')],
  ['ValidationError', () => new ValidationError('not a total')],
])('%s is never tried again', async (name, error) => {
  const { broker, send } = await memoryTopic(1)
  await send(mixed(3))
  let runs = 0
  const failing = counting(({ data }) => {
    if (data.key !== 'bad' || data.n !== 1) return
    runs += 1
    throw error()
  })
  await using consumer = consume(broker, [failing])
  await settledAll(consumer, broker)
  expect(runs).toBe(1)
  expect(await letters()).toMatchObject([{ error_class: name, log_offset: '4' }])
  expect(consumer.status().counts).toMatchObject({ retries: 0, deadLetters: 1 })
})

test('RetryLater has the message wait, however often, and charges nobody', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(mixed(3))
  let runs = 0
  const busy = counting(({ data }) => {
    if (data.key === 'bad' && data.n === 0 && ++runs <= 12) throw new RetryLater(5, 'busy')
  })
  await using consumer = consume(broker, [busy], { retry: { maxAttempts: 2, baseDelayMs: 1 } })
  await settledAll(consumer, broker)
  expect(runs).toBe(13)
  expect(byKey(await effects()).get('bad')).toEqual([0, 1, 2])
  expect(consumer.status().counts).toMatchObject({ retries: 0, deadLetters: 0 })
})

test('a wait that no database can store is cut, and stops nobody', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(mixed(2))
  const later = counting(({ data }) => {
    if (data.key === 'bad') throw new RetryLater(Number.MAX_VALUE)
  })
  await using consumer = consume(broker, [later], { lanes: 1 })
  await until('the neighbours are done', async () => (await effects()).length === 4)
  expect(await parkedKeys()).toMatchObject([{ key: 'bad', messages: 2, attempts: 0 }])
  expect(consumer.status().trouble).toBeNull()
})

test('after the deadline a failure is the last one, whatever attempts are left', async () => {
  const { broker, send } = await memoryTopic(1)
  await send([countedRecord('bad', 1)])
  const failing = counting(() => {
    throw new Error('never')
  })
  const retry = { maxAttempts: 1_000_000, baseDelayMs: 5, maxDelayMs: 5, jitter: 'none' as const, deadlineMs: 100 }
  await using consumer = consume(broker, [failing], { retry })
  await settledAll(consumer, broker)
  const [letter] = await rows<{ n: number; ms: number }>(
    'select retry_count as n, (extract(epoch from last_failed_at - first_failed_at) * 1000)::int as ms from tidemark.dead_letter',
  )
  expect(letter!.n).toBeGreaterThan(1)
  expect(letter!.ms).toBeGreaterThanOrEqual(100)
})

test('a class of failures, and a handler, may have a policy of their own', async () => {
  const { broker, send } = await memoryTopic(1)
  await send([countedRecord('away', 1), countedRecord('bug', 1)])
  const runs = new Map<string, number>()
  const failing = counting(
    ({ data }, { attempt }) => {
      runs.set(data.key, attempt)
      throw data.key === 'away' ? Object.assign(new Error('away'), { code: 'ECONNREFUSED' }) : new Error('bug')
    },
    { retry: { byClass: { transient: { maxAttempts: 6 } } } },
  )
  await using consumer = consume(broker, [failing], { retry: { maxAttempts: 2, baseDelayMs: 1 } })
  await settledAll(consumer, broker)
  expect(Object.fromEntries(runs)).toEqual({ away: 6, bug: 2 })
})

test('a message without a key waits by itself, and its dead letter blocks nobody', async () => {
  const { broker, send } = await memoryTopic(1)
  const keyless = (n: number) => ({ ...countedRecord('none', n), key: null })
  await send(sequence(20).map(keyless))
  const failing = counting(({ data }) => {
    if (data.n === 3 || data.n === 4) throw new Error('never')
  })
  await using consumer = consume(broker, [failing], { lanes: 2 })
  await settledAll(consumer, broker)
  expect((await effects()).map(({ n }) => n).sort((a, b) => a - b)).toEqual(sequence(20).filter((n) => n !== 3 && n !== 4))
  expect(await letters()).toMatchObject([
    { key: null, policy: 'skip', log_offset: '3' },
    { key: null, policy: 'skip', log_offset: '4' },
  ])
  expect(await rows('select from tidemark.parked_key')).toEqual([])
})

test('in a set-based handler the message at fault is found, and the others of the batch take effect', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(mixed(30))
  const inBatches = onBatch(Counted, async (messages, { tx }) => {
    for (const { id, data } of messages) await tx.query(insertEffect, [id, data.key, data.n])
    if (messages.some(({ data }) => data.key === 'bad' && data.n === 7)) throw new Error('one of them')
  })
  await using consumer = consume(broker, [inBatches], { lanes: 1 })
  await settledAll(consumer, broker)
  expect(Object.fromEntries(byKey(await effects()))).toEqual({ a: sequence(30), bad: sequence(7), b: sequence(30) })
  expect(await letters()).toMatchObject([{ log_offset: '22', policy: 'block' }])
  expect(await inconsistent()).toEqual([])
})

test('equal keys of two topics have nothing to do with each other', async () => {
  const { broker, send } = await memoryTopic(1)
  const Other = countedOn('other')
  await broker.topics([{ name: Other.topic, partitions: 1 }])
  const other = (n: number) => ({ ...countedRecord('k', n, { id: `other ${n}` }), topic: Other.topic })
  await send(sequence(10).flatMap((n) => [countedRecord('k', n), other(n)]))
  const failing = counting(({ data }) => {
    if (data.n === 2) throw new TerminalError('never')
  })
  const fine = onMessage(Other, ({ id, data }, { tx }) => tx.query(insertEffect, [id, 'other', data.n]).then(() => undefined))
  await using consumer = consume(broker, [failing, fine])
  await settledAll(consumer, broker)
  await until('the other topic is done', () => consumer.settledUpTo(Other.topic, 0) === 10)
  expect(Object.fromEntries(byKey(await effects()))).toEqual({ k: [0, 1], other: sequence(10) })
  expect(await parkedKeys()).toMatchObject([{ key: 'k', messages: 8 }])
})

describe('what waits has bounds', () => {
  test('a message that is larger than all of them by itself is parked, and dies, like any other', async () => {
    const { broker, send } = await memoryTopic(1)
    const large = Buffer.from(JSON.stringify({ key: 'bad', n: 0, pad: 'x'.repeat(900_000) }))
    await send([{ ...countedRecord('bad', 0), value: large }, ...sequence(20).map((n) => countedRecord('a', n))])
    const failing = counting(({ data }) => {
      if (data.key === 'bad') throw new Error('too much')
    })
    const parked = { bytesPerKey: 1_000, bytesPerPartition: 100_000 }
    await using consumer = consume(broker, [failing], {
      lanes: 1,
      parked,
      fetchBytes: 10_000,
      buffer: { bytes: 20_000 },
      deadLetter: 'skip',
    })
    await settledAll(consumer, broker)
    expect(byKey(await effects()).get('a')).toEqual(sequence(20))
    const [letter] = await rows<{ bytes: number; count: number }>(
      'select octet_length(value) as bytes, retry_count as count from tidemark.dead_letter',
    )
    expect(letter).toEqual({ bytes: large.length, count: 3 })
  })

  test.each([
    ['a key', { bytesPerKey: 2_000 }],
    ['a partition', { bytesPerPartition: 2_000 }],
  ])('of %s: there the lane stands still and says so, and it goes on when there is room', async (_, parked) => {
    const { broker, send } = await memoryTopic(1)
    const count = 200
    await send(sequence(count).flatMap((n) => [countedRecord('bad', n), countedRecord('a', n)]))
    let isMended = false
    const failing = counting(({ data }) => {
      if (data.key === 'bad' && !isMended) throw new Error('not yet')
    })
    const retry = { maxAttempts: 1_000_000, baseDelayMs: 20, maxDelayMs: 20 }
    await using consumer = consume(broker, [failing], { lanes: 1, parked, retry })
    await until('the bound is reached', () => consumer.status().partitions[0]?.full === true)
    expect(consumer.status().trouble).toContain('waits behind parked keys')
    const [key] = await parkedKeys()
    expect(key!.bytes).toBeLessThanOrEqual(2_000)
    expect(key!.messages).toBeGreaterThan(1)
    isMended = true
    await settledAll(consumer, broker)
    expect(Object.fromEntries(byKey(await effects()))).toEqual({ a: sequence(count), bad: sequence(count) })
    expect(consumer.status().partitions[0]?.full).toBe(false)
  })
})

test('a key that fails all the time is tried by one process at a time, whoever they are', async () => {
  const { broker, send } = await memoryTopic(2)
  await send(sequence(20).map((n) => countedRecord(`k${n % 4}`, Math.floor(n / 4), { partitions: 2 })))
  let running = 0
  let overlaps = 0
  const failing = counting(async ({ data }, { attempt, tx }) => {
    if (data.n !== 1 || attempt >= 5) return
    running += 1
    if (running > 4) overlaps += 1
    await tx.query('select pg_sleep(0.005)')
    running -= 1
    throw new Error(`attempt ${attempt}`)
  })
  const retry = { maxAttempts: 6, baseDelayMs: 1 }
  const consumers = sequence(3).map(() => consume(broker, [failing], { retry, retriers: 4 }))
  await until('everything is handled', async () => (await effects()).length === 20)
  for (const [, done] of byKey(await effects())) expect(done).toEqual(sequence(5))
  expect(overlaps).toBe(0)
  expect(await store.parked.waiting('test')).toBe(0)
  expect(consumers.reduce((sum, consumer) => sum + consumer.status().counts.deadLetters, 0)).toBe(0)
})
