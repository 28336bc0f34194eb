import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { PostgresDeadLetterStore } from '../../src/drivers/postgres/postgres-dead-letter-store.ts'
import { onMessage } from '../../src/consumer/index.ts'
import { passedOnHeaders } from '../../src/consumer/batch/original-record.ts'
import { type Header, event } from '../../src/message/index.ts'
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

/** Messages that wait, in processes of another version: one that reads their topic, and has no handler of their type. */

const { database, consume, effects, rows, reset } = await consumerDatabase('unhandled')
const letters = new PostgresDeadLetterStore({ database })

const troubles: string[] = []
const hear = (fact: unknown): void => void troubles.push((fact as { readonly error: string }).error)
beforeEach(async () => {
  await reset()
  troubles.length = 0
  subscribe('tidemark:consumer:trouble', hear)
})
afterEach(() => unsubscribe('tidemark:consumer:trouble', hear))

/** Of the same topic. */
const Other = event('Other', { aggregate: 'counter', key: ({ key }) => key, schema: Counted.schema })
const ofOthers = onMessage(Other, () => undefined)
const harmless = counting(() => undefined)
const failing = counting(({ data }) => {
  if (data.n === 0) throw new Error('not in this version')
})

const retry = { baseDelayMs: 1, maxDelayMs: 1, maxAttempts: 2, immediate: 0 }
const head = () =>
  rows<{ attempts: number; failures: readonly { readonly error: string }[]; reason: string; waits: boolean }>(
    'select attempts, failures, reason, next_attempt_at > clock_timestamp() + $1::interval as waits from tidemark.parked_key',
    ['1 second'],
  )
/** What the retrier of another version has to say of it. */
const told = () => until('it is told', async () => (await head())[0]?.reason.includes('Expected a handler') === true)
const due = () => rows('update tidemark.parked_key set next_attempt_at = clock_timestamp()')
const states = () =>
  rows(
    'select state, error_class, ended_at is not null as ended, retry_count, json_array_length(attempts) as attempts from tidemark.dead_letter',
  )

/** A dead letter of n = 0, with two messages behind it. */
async function bury(): Promise<Awaited<ReturnType<typeof memoryTopic>>['broker']> {
  const { broker, send } = await memoryTopic(1)
  await send(sequence(3).map((n) => countedRecord('k', n)))
  const consumer = consume(broker, [failing], { retry })
  await settledAll(consumer, broker)
  await consumer.stop()
  expect(await states()).toMatchObject([{ state: 'dead', ended: false }])
  return broker
}

async function redrive(): Promise<void> {
  const [letter] = (await letters.list({}, { limit: 1 })).letters
  expect(await letters.redrive([{ id: letter!.id }], { actor: 'test' })).toMatchObject([{ outcome: 'redriven' }])
}

test('a redriven letter whose type nobody here handles waits, uncharged and told, until a process with the handler takes it, in order', async () => {
  const broker = await bury()
  await using without = consume(broker, [ofOthers], { retry })
  await redrive()
  await told()
  expect(await head()).toMatchObject([{ attempts: 0, waits: true, reason: expect.stringContaining('"Counted"') as string }])
  expect(without.status()).toMatchObject({
    counts: { duplicates: { inbox: 0 }, retried: 0, retries: 0 },
    trouble: expect.stringContaining('Expected a handler') as string,
  })
  expect(troubles).toContainEqual(expect.stringContaining('"Counted"'))
  // It was asked again and said the same: that is noted once.
  await due()
  await until('it waits again', async () => (await head())[0]!.waits)
  expect((await head())[0]!.failures).toHaveLength(1)
  expect(await states()).toMatchObject([{ state: 'redriven', ended: false }])
  expect(await effects()).toEqual([])
  await without.stop()
  await due()
  await using consumer = consume(broker, [harmless, ofOthers], { retry })
  await settledAll(consumer, broker)
  expect(Object.fromEntries(byKey(await effects()))).toEqual({ k: [0, 1, 2] })
  expect(await states()).toMatchObject([{ state: 'redriven', ended: true }])
})

test('it has all its attempts when a handler comes, however often it was in vain', async () => {
  const broker = await bury()
  const without = consume(broker, [ofOthers], { retry })
  await redrive()
  await told()
  await without.stop()
  await due()
  let runs = 0
  const once = counting(() => {
    if (runs++ === 0) throw new Error('a hiccup')
  })
  await using consumer = consume(broker, [once], { retry })
  await settledAll(consumer, broker)
  expect(Object.fromEntries(byKey(await effects()))).toEqual({ k: [0, 1, 2] })
})

test('when none has come for an hour it is a dead letter, and can be redriven', async () => {
  const broker = await bury()
  await using without = consume(broker, [ofOthers], { retry })
  await redrive()
  await told()
  await rows(
    `update tidemark.parked_key set next_attempt_at = clock_timestamp(), failures =
 (select json_agg(json_build_object('at', (f->>'at')::timestamptz - interval '1 hour', 'error', f->>'error')) from json_array_elements(failures) f)`,
  )
  await until('it is dead', async () => (await rows(`select from tidemark.dead_letter where state = 'dead'`)).length === 1)
  expect(await states()).toMatchObject([{ state: 'dead', error_class: 'UNHANDLED', ended: false }])
  expect(without.status().counts).toMatchObject({ deadLetters: 1, duplicates: { inbox: 0 } })
  await without.stop()
  await redrive()
  await using consumer = consume(broker, [harmless], { retry })
  await settledAll(consumer, broker)
  expect(Object.fromEntries(byKey(await effects()))).toEqual({ k: [0, 1, 2] })
})

test('what was passed on to a retry topic, and has no handler there, is a dead letter; what others put there is none of ours', async () => {
  const { broker, send } = await memoryTopic(1)
  const topic = `${Counted.topic}.test.retry.1`
  await broker.topics([{ name: topic, partitions: 1 }])
  const failed = countedRecord('k', 0)
  const original: Header[] = [
    [passedOnHeaders.topic, Counted.topic],
    [passedOnHeaders.partition, '0'],
    [passedOnHeaders.offset, '7'],
    [passedOnHeaders.timestamp, String(Date.now())],
    [passedOnHeaders.count, '1'],
  ]
  await send([
    { ...failed, topic, headers: [...failed.headers, ...original] },
    { ...countedRecord('k', 1), topic },
  ])
  await using consumer = consume(broker, [ofOthers], { retry, retryTopics: { delaysMs: [1] }, deadLetter: 'skip' })
  await until('it is read to its end', () => consumer.settledUpTo(topic, 0) === 2)
  expect(await rows('select error_class, policy, type from tidemark.dead_letter')).toEqual([
    { error_class: 'UNHANDLED', policy: 'skip', type: 'Counted' },
  ])
  expect(consumer.status().counts).toMatchObject({ deadLetters: 1, skippedTypes: { Counted: 1 } })
})

test('what stands before it in the key is handled, and it keeps what is behind it waiting', async () => {
  const { broker, send } = await memoryTopic(1)
  await send([countedRecord('k', 0), countedRecord('k', 1, { type: 'Other' }), countedRecord('k', 2)])
  // The version that has both handlers, and cannot do anything now.
  const both = consume(
    broker,
    [
      counting(() => {
        throw new Error('not now')
      }),
      ofOthers,
    ],
    { retry: { ...retry, baseDelayMs: 3_600_000, maxDelayMs: 3_600_000, jitter: 'none' }, breaker: false },
  )
  await until('all wait', async () => (await rows('select from tidemark.parked_msg')).length === 3)
  await both.stop()
  await due()
  const one = consume(broker, [harmless], { retry })
  await until('it is told', async () => (await head())[0]?.reason.includes('"Other"') === true)
  expect(Object.fromEntries(byKey(await effects()))).toEqual({ k: [0] })
  await one.stop()
  await due()
  await using consumer = consume(broker, [harmless, ofOthers], { retry })
  await settledAll(consumer, broker)
  expect(Object.fromEntries(byKey(await effects()))).toEqual({ k: [0, 2] })
  expect(consumer.status().counts).toMatchObject({ retried: 2 })
})
