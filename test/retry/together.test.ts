import { beforeEach, describe, expect, test } from 'vitest'
import { onBatch, onMessage } from '../../src/consumer/index.ts'
import type { Broker } from '../../src/message/index.ts'
import { RetryLater, TerminalError } from '../../src/retry/index.ts'
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
import { countedOn } from '../consumer/support/counted.ts'
import { until } from '../support/until.ts'
import { counting } from './support/counting.ts'

/** Keys that are tried again share transactions: what is wrong with one of them is none of the others' business. */

const { consume, effects, rows, reset } = await consumerDatabase('retried_together')
await rows('alter table effect add column xact xid8 not null default pg_current_xact_id()')

beforeEach(async () => {
  await reset()
})

const keys = sequence(40).map((n) => `k${String(n).padStart(2, '0')}`)
const retry = { maxAttempts: 3, baseDelayMs: 1, maxDelayMs: 1, immediate: 0 }
/** One transaction at a time, so that the keys that are due share it. */
const settings = { retry, retriers: 1, breaker: false } as const

/** Every key waits, with two messages. `charged`: its first one was run, and failed, once. */
async function parkAll(how: 'charged' | 'uncharged'): Promise<Broker> {
  const { broker, send } = await memoryTopic(1)
  await send([0, 1].flatMap((n) => keys.map((key) => countedRecord(key, n))))
  await parked(broker, how, [Counted])
  return broker
}

async function parked(broker: Broker, how: 'charged' | 'uncharged', events: readonly (typeof Counted)[]): Promise<void> {
  const fail = (): never => {
    throw how === 'charged' ? new Error('at first') : new RetryLater(1)
  }
  const failing = events.map((of) => onMessage(of, fail))
  await using consumer = consume(broker, failing, { ...settings, retriers: 0 })
  await until('all wait', async () => (await waiting()) === 2 * keys.length * events.length)
  await consumer.stop()
}

const waiting = async (): Promise<number> => (await rows('select from tidemark.parked_msg')).length
const letters = () =>
  rows<{ key: string; reason: string }>(`select convert_from(key, 'utf8') as key, reason from tidemark.dead_letter order by 1`)
const transactions = async (): Promise<number> => Number((await rows<{ n: string }>('select count(distinct xact) as n from effect'))[0]!.n)
const expectAllBut = async (...others: readonly string[]): Promise<void> => {
  const done = byKey(await effects())
  for (const key of keys) expect([key, done.get(key) ?? []]).toEqual([key, others.includes(key) ? [] : [0, 1]])
}

describe.each(['uncharged', 'charged'] as const)('keys that wait %s', (how) => {
  test('share transactions, and each goes on in its order', async () => {
    const broker = await parkAll(how)
    await using consumer = consume(broker, [counting(() => undefined)], settings)
    await settledAll(consumer, broker)
    await expectAllBut()
    expect(await transactions()).toBeLessThan(keys.length)
    expect(consumer.status().counts).toMatchObject({ retried: 2 * keys.length, retries: 0 })
  })

  test.each([false, true])('leave one behind that fails (after its effect: %s), and it alone is charged', async (effectFirst) => {
    const broker = await parkAll(how)
    const attempts: number[] = []
    const handler = counting(
      ({ data: { key } }, { attempt }) => {
        if (key !== 'k07') return
        attempts.push(attempt)
        throw new Error('for good')
      },
      { effectFirst },
    )
    await using consumer = consume(broker, [handler], settings)
    await settledAll(consumer, broker)
    await expectAllBut('k07')
    // Whoever shared one with it had another by itself.
    expect(await transactions()).toBeLessThan(1.5 * keys.length)
    expect(await letters()).toEqual([{ key: 'k07', reason: 'for good' }])
    // An effect that is found to be undone costs a run of its own, which charges nobody.
    expect([...new Set(attempts)]).toEqual(how === 'charged' ? [2, 3] : [1, 2, 3])
    expect(consumer.status().counts.retries).toBe(how === 'charged' ? 2 : 3)
  })

  test.each([1, 2])('are not charged for one whose handler does not return (statements: %i)', async (statements) => {
    const broker = await parkAll(how)
    const handler = onMessage(Counted, async ({ id, data }, { tx }) => {
      // Of two it runs by itself.
      if (statements === 2) await tx.query('select 1')
      if (data.key === 'k37') await new Promise(() => undefined)
      await tx.query(insertEffect, [id, data.key, data.n])
    })
    await using consumer = consume(broker, [handler], { ...settings, timeoutMs: 500 })
    await settledAll(consumer, broker)
    await expectAllBut('k37')
    expect(await letters()).toMatchObject([{ key: 'k37', reason: expect.stringContaining('did not end within 500 ms') as string }])
    expect(await rows(`select from tidemark.parked_key where attempts > 0`)).toEqual([])
  })

  test('are not charged for one that the commit refuses', async () => {
    await rows('alter table effect add constraint fresh unique (key, n) deferrable initially deferred')
    const broker = await parkAll(how)
    await rows(`insert into effect (id, key, n) values ('theirs', 'k07', 0)`)
    await using consumer = consume(broker, [counting(() => undefined)], settings)
    await settledAll(consumer, broker)
    await rows(`delete from effect where id = 'theirs'`)
    await rows('alter table effect drop constraint fresh')
    await expectAllBut('k07')
    expect(await letters()).toMatchObject([{ key: 'k07' }])
  })

  test('go on where one of them is leased to somebody else meanwhile', async () => {
    const broker = await parkAll(how)
    let isTaken = false
    const handler = counting(async ({ data: { key } }) => {
      if (key !== 'k07' || isTaken) return
      isTaken = true
      await rows(
        `update tidemark.parked_key set lease = nextval('tidemark.parked_lease'), lease_until = now() + interval '300 ms' where key = 'k07'`,
      )
    })
    await using consumer = consume(broker, [handler], settings)
    await settledAll(consumer, broker)
    await expectAllBut()
    expect(await letters()).toEqual([])
  })

  test.each([
    ['a temporary table', 'create temp table scratch (x int) on commit drop'],
    ['a cursor', 'declare place cursor for select 1'],
    ['a setting', 'set local statement_timeout = 250'],
  ])('are not charged for what another one left in the transaction: %s', async (_, statement) => {
    const broker = await parkAll(how)
    const handler = counting(async ({ data: { key } }, { tx }) => {
      if (key === 'k21') await tx.query('select pg_sleep(0.5)')
      if (!statement.startsWith('set') || key === 'k07') await tx.query(statement)
    })
    await using consumer = consume(broker, [handler], settings)
    await settledAll(consumer, broker)
    await expectAllBut()
    expect(await letters()).toEqual([])
    expect(consumer.status().counts.retries).toBe(0)
  })

  test('are not committed by one that takes the client and commits', async () => {
    const broker = await parkAll(how)
    const handler = counting(async ({ data: { key } }, { tx }) => {
      if (key === 'k07') await (tx.raw as { query(text: string): Promise<unknown> }).query('commit')
    })
    await using consumer = consume(broker, [handler], settings)
    await settledAll(consumer, broker)
    const done = byKey(await effects())
    for (const key of keys.filter((one) => one !== 'k07')) expect([key, done.get(key)]).toEqual([key, [0, 1]])
    expect(await letters()).toMatchObject([{ key: 'k07' }])
  })

  test('run in one call where their handler takes many, and one by one where that fails', async () => {
    const broker = await parkAll(how)
    const sizes: number[] = []
    const handler = onBatch(Counted, async (messages, { tx }) => {
      sizes.push(messages.length)
      for (const { id, data } of messages) await tx.query(insertEffect, [id, data.key, data.n])
      if (messages.some(({ data }) => data.key === 'k07')) throw new Error('for good')
    })
    await using consumer = consume(broker, [handler], settings)
    await settledAll(consumer, broker)
    await expectAllBut('k07')
    expect(Math.max(...sizes)).toBeGreaterThan(1)
    expect(await letters()).toEqual([{ key: 'k07', reason: 'for good' }])
  })
})

test('a handler that wants a transaction for each message has it, and the others share theirs', async () => {
  const broker = await parkAll('uncharged')
  const handler = onMessage(Counted, ({ id, data }, { tx }) => tx.query(insertEffect, [id, data.key, data.n]).then(() => undefined), {
    transaction: 'message',
  })
  await using consumer = consume(broker, [handler], settings)
  await settledAll(consumer, broker)
  await expectAllBut()
  expect(await transactions()).toBe(2 * keys.length)
})

test('equal keys of two topics are two keys: where one fails the other goes on, uncharged', async () => {
  const { broker, send } = await memoryTopic(1)
  const Other = countedOn('other')
  await broker.topics([{ name: Other.topic, partitions: 1 }])
  const ofBoth = (key: string, n: number) => [
    countedRecord(key, n),
    { ...countedRecord(key, n, { id: `other ${key} ${n}` }), topic: Other.topic },
  ]
  await send([0, 1].flatMap((n) => keys.flatMap((key) => ofBoth(key, n))))
  await parked(broker, 'uncharged', [Counted, Other])
  const failing = counting(
    ({ data: { key } }) => {
      if (key === 'k07') throw new TerminalError('never')
    },
    { effectFirst: true },
  )
  const fine = onMessage(Other, ({ id, data }, { tx }) => tx.query(insertEffect, [id, `other ${data.key}`, data.n]).then(() => undefined))
  await using consumer = consume(broker, [failing, fine], settings)
  await settledAll(consumer, broker)
  await expectAllBut('k07')
  const done = byKey(await effects())
  for (const key of keys) expect(done.get(`other ${key}`)).toEqual([0, 1])
  expect(await letters()).toEqual([{ key: 'k07', reason: 'never' }])
})

test('a repeat at the head goes, and what follows it is charged for itself', async () => {
  const { broker, send } = await memoryTopic(1)
  const later = onMessage(Counted, () => {
    throw new RetryLater(1)
  })
  const parking = consume(broker, [later], { ...settings, retriers: 0 })
  for (const [i, key] of ['first', 'second'].entries()) {
    await send([countedRecord(key, 0, { id: 'the same' })])
    await until('it waits', async () => (await waiting()) === i + 1)
  }
  await send([countedRecord('second', 1, { id: 'stuck' }), ...keys.map((key) => countedRecord(key, 0))])
  await until('all wait', async () => (await waiting()) === 3 + keys.length)
  await parking.stop()
  // Those of the others make the next transactions larger, so that both of its messages get into one.
  await rows(`update tidemark.parked_key set next_attempt_at = now() + interval '1 second' where key = 'second'`)

  const handler = onMessage(Counted, async ({ id, data }, { tx }) => {
    if (id === 'stuck') await new Promise(() => undefined)
    await tx.query(insertEffect, [id, data.key, data.n])
  })
  await using consumer = consume(broker, [handler], { ...settings, timeoutMs: 200, retry: { ...retry, maxAttempts: 1 } })
  await settledAll(consumer, broker)
  expect((await effects()).filter(({ id }) => id === 'the same')).toHaveLength(1)
  expect(await effects()).toHaveLength(1 + keys.length)
  expect(await rows('select log_offset::int as o from tidemark.dead_letter')).toEqual([{ o: 2 }])
  expect(await rows('select log_offset::int as o, dead from tidemark.parked_msg')).toEqual([{ o: 2, dead: true }])
})
