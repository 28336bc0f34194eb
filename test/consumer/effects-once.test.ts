import { beforeEach, describe, expect, test } from 'vitest'
import { onBatch, onMessage } from '../../src/consumer/index.ts'
import { until } from '../support/until.ts'
import {
  Counted,
  byKey,
  consumerDatabase,
  countEffect,
  countedRecord,
  idOf,
  insertEffect,
  memoryTopic,
  placeInStream,
  sequence,
  settledAll,
} from './support/consumer-database.ts'

const { store, consume, effects, rows, reset } = await consumerDatabase('effects_once')

beforeEach(async () => {
  await reset()
})

const keys = ['a', 'b', 'c', 'd', 'e']
const some = (count: number, partitions: number) => sequence(count).flatMap((n) => keys.map((key) => countedRecord(key, n, { partitions })))

test('every message of every key is handled once, in order', async () => {
  const { broker, send } = await memoryTopic(3)
  await send(some(100, 3))
  await using consumer = consume(broker, [countEffect])
  await settledAll(consumer, broker)
  await send(some(120, 3).slice(500))
  await settledAll(consumer, broker)
  expect(Object.fromEntries(byKey(await effects()))).toEqual(Object.fromEntries(keys.map((key) => [key, sequence(120)])))
  expect(consumer.status().counts).toMatchObject({ handled: 600, deadLetters: 0, retries: 0, abandonedRuns: 0 })
})

test('a consumer that starts again goes on where the position stands', async () => {
  const { broker, send } = await memoryTopic(2)
  await send(some(20, 2))
  const first = consume(broker, [countEffect])
  await settledAll(first, broker)
  await first.stop()
  await send(some(30, 2).slice(100))
  await using second = consume(broker, [countEffect], { startFrom: 'latest' })
  await settledAll(second, broker)
  expect((await effects()).length).toBe(150)
  expect(second.status().counts).toMatchObject({ handled: 50, duplicates: { position: 0 } })
})

test('a message that comes again without a coordinate is found in the inbox, in the same batch, later, and in another partition', async () => {
  const { broker, send } = await memoryTopic(2)
  const twice = countedRecord('a', 1, { partitions: 2 })
  await send([twice, twice, countedRecord('a', 2, { partitions: 2 })])
  await using consumer = consume(broker, [countEffect])
  await settledAll(consumer, broker)
  await send([twice, { ...twice, partition: 1 - twice.partition }])
  await settledAll(consumer, broker)
  expect((await effects()).map(({ n }) => n)).toEqual([1, 2])
  expect(consumer.status().counts).toMatchObject({ handled: 2, duplicates: { inbox: 3 } })
})

test('a handler that is idempotent by nature sees a repeat, and nothing is written for its messages', async () => {
  const { broker, send } = await memoryTopic(1)
  await rows('create table if not exists newest (key text primary key, n int)')
  const seen: number[] = []
  const natural = onMessage(
    Counted,
    async ({ data }, { tx }) => {
      await tx.query('insert into newest values ($1, $2) on conflict (key) do update set n = greatest(newest.n, excluded.n)', [
        data.key,
        data.n,
      ])
      seen.push(data.n)
    },
    { idempotent: 'natural' },
  )
  await send([countedRecord('a', 1), countedRecord('a', 1), countedRecord('a', 2)])
  await using consumer = consume(broker, [natural], { lanes: 1 })
  await settledAll(consumer, broker)
  await send([countedRecord('a', 1)])
  await settledAll(consumer, broker)
  expect(seen).toEqual([1, 1, 2, 1])
  expect(await rows('select n from newest')).toEqual([{ n: 2 }])
  expect(await rows('select from tidemark.inbox')).toEqual([])
  expect(consumer.status().counts).toMatchObject({ handled: 4, duplicates: { inbox: 0 } })
})

test('messages of the same id in two lanes at once take effect once', async () => {
  const { broker, send } = await memoryTopic(1)
  const pairs = sequence(300).flatMap((n) => [countedRecord('a', n), countedRecord(`b${n}`, n, { id: idOf('a', n) })])
  await send(pairs)
  await using consumer = consume(broker, [countEffect], { lanes: 4 })
  await settledAll(consumer, broker)
  expect(new Set((await effects()).map(({ id }) => id)).size).toBe(300)
  expect((await effects()).length).toBe(300)
})

test('a page that a superseded sender repeats is told by its coordinates, without a row in the inbox', async () => {
  const { broker, send } = await memoryTopic(1)
  const page = sequence(50).map((n) => countedRecord(keys[n % 5]!, n, { coordinate: placeInStream(n) }))
  await send([...page.slice(0, 30), ...page.slice(20), ...page])
  await using consumer = consume(broker, [countEffect])
  await settledAll(consumer, broker)
  expect((await effects()).length).toBe(50)
  expect(await rows('select from tidemark.inbox')).toEqual([])
  expect(consumer.status().counts.duplicates).toEqual({ position: 0, highWater: 60, inbox: 0 })
})

test('the high water outlives the process and a change of the lane count', async () => {
  const { broker, send } = await memoryTopic(1)
  const page = sequence(50).map((n) => countedRecord(keys[n % 5]!, n, { coordinate: placeInStream(n) }))
  await send(page)
  const first = consume(broker, [countEffect], { lanes: 2 })
  await settledAll(first, broker)
  first.changeLanes(5)
  await until('five lanes', () => first.status().partitions[0]!.lanes === 5)
  await first.stop()
  await send(page)
  await using second = consume(broker, [countEffect])
  await settledAll(second, broker)
  expect((await effects()).length).toBe(50)
  expect(second.status().counts.duplicates.highWater).toBe(50)
})

test('a life of the source after a restore begins a high water of its own', async () => {
  const { broker, send } = await memoryTopic(1)
  await send([countedRecord('a', 1, { coordinate: placeInStream(9) })])
  await send([countedRecord('a', 2, { coordinate: { ...placeInStream(1), sourceEpoch: 'test.2' } })])
  await using consumer = consume(broker, [countEffect])
  await settledAll(consumer, broker)
  expect((await effects()).map(({ n }) => n)).toEqual([1, 2])
})

test('types without a handler are skipped and counted, and the position passes them', async () => {
  const { broker, send } = await memoryTopic(1)
  await send([countedRecord('a', 1, { type: 'Other' }), countedRecord('a', 2), countedRecord('b', 1, { type: 'Other' })])
  await using consumer = consume(broker, [countEffect])
  await settledAll(consumer, broker)
  expect((await effects()).map(({ n }) => n)).toEqual([2])
  expect(consumer.status().counts.skippedTypes).toEqual({ Other: 2 })
  await until('the rows follow', async () => (await rows('select from tidemark.consumer_position where next_offset < 3')).length === 0)
})

test('a batch handler gets the messages of a run in order, in one call', async () => {
  const { broker, send } = await memoryTopic(1)
  await send([...some(10, 1), countedRecord('a', 99, { type: 'Other' }), ...some(20, 1).slice(50)])
  const sizes: number[] = []
  const inBatches = onBatch(Counted, async (messages, { tx }) => {
    sizes.push(messages.length)
    await tx.query('insert into effect (id, key, n) select * from unnest($1::text[], $2::text[], $3::int[])', [
      messages.map(({ id }) => id),
      messages.map(({ data }) => data.key),
      messages.map(({ data }) => data.n),
    ])
  })
  await using consumer = consume(broker, [inBatches], { lanes: 1 })
  await settledAll(consumer, broker)
  expect(Object.fromEntries(byKey(await effects()))).toEqual(Object.fromEntries(keys.map((key) => [key, sequence(20)])))
  expect(sizes.length).toBeLessThan(6)
})

test('with a transaction for each message no two share one', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(some(4, 1))
  await rows('create table if not exists seen (xid xid8)')
  const alone = onMessage(Counted, async (_, { tx }) => void (await tx.query('insert into seen values (pg_current_xact_id())')), {
    transaction: 'message',
  })
  await using consumer = consume(broker, [alone])
  await settledAll(consumer, broker)
  expect(await rows('select count(distinct xid)::int as n from seen')).toEqual([{ n: 20 }])
})

describe('a new group', () => {
  test('may begin at the end, in all partitions alike, whoever comes first', async () => {
    const { broker, send } = await memoryTopic(4)
    await send(some(5, 4))
    await using consumer = consume(broker, [countEffect], { startFrom: 'latest' })
    await settledAll(consumer, broker)
    await send(some(6, 4).slice(25))
    await settledAll(consumer, broker)
    expect((await effects()).map(({ n }) => n)).toEqual([5, 5, 5, 5, 5])
  })

  test('may begin at a time', async () => {
    const { broker, send } = await memoryTopic(1)
    await send([countedRecord('a', 1)])
    await new Promise((resolve) => setTimeout(resolve, 3))
    const from = new Date()
    await send([countedRecord('a', 2)])
    await using consumer = consume(broker, [countEffect], { startFrom: from })
    await settledAll(consumer, broker)
    expect((await effects()).map(({ n }) => n)).toEqual([2])
  })

  test('a partition seen later begins at its beginning, whatever startFrom says', async () => {
    const topic = { group: 'test', topic: 't', topicId: 'grown' }
    await store.makePositions({ topic, lanes: 1, first: [7], later: [0] })
    await store.makePositions({ topic, lanes: 1, first: [9, 9], later: [0, 3] })
    const found = (await store.positions('test')).map(({ partition, nextOffset }) => [partition, nextOffset])
    expect(found.sort()).toEqual([
      [0, 7],
      [1, 3],
    ])
  })
})

test('a topic made anew stops the consumer, which names the remedy', async () => {
  const { broker } = await memoryTopic(1)
  const topic = { group: 'test', topic: Counted.topic, topicId: 'a former one' }
  await store.makePositions({ topic, lanes: 1, first: [7], later: [0] })
  const consumer = consume(broker, [countEffect])
  await expect(consumer.done).rejects.toMatchObject({ code: 'TOPIC_MISMATCH', message: expect.stringContaining('delete its old rows') })
  expect(consumer.status().state).toBe('stopped')
})

test('a position that the log does not hold stops the consumer and skips nothing', async () => {
  const { broker, send } = await memoryTopic(1)
  await send([countedRecord('a', 1)])
  const [topic] = await broker.topics([{ name: Counted.topic }])
  await store.makePositions({ topic: { group: 'test', topic: Counted.topic, topicId: topic!.id }, lanes: 1, first: [700], later: [0] })
  const consumer = consume(broker, [countEffect])
  await expect(consumer.done).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
  expect(await rows('select next_offset::int as n from tidemark.consumer_position')).toEqual([{ n: 700 }])
})

test('a context gives the same time, ids and chance in every run of a message', async () => {
  const { broker, send } = await memoryTopic(1)
  await send([countedRecord('a', 1)])
  const seen: unknown[] = []
  const shaky = onMessage(Counted, async (_, { tx, now, uuid, random, attempt }) => {
    await tx.query('select 1')
    seen.push([now().getTime(), uuid(), uuid(), random()])
    if (attempt < 3) throw new Error('not yet')
  })
  await using consumer = consume(broker, [shaky])
  await settledAll(consumer, broker)
  expect(seen.length).toBeGreaterThanOrEqual(3)
  for (const one of seen) expect(one).toEqual(seen[0])
  const [, first, second] = seen[0] as [number, string, string]
  expect(first).not.toBe(second)
  expect(first).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
})

test('what handlers publish is in the outbox in the order of the messages handled, exactly if they committed', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(sequence(40).map((n) => countedRecord(`k${n}`, n)))
  const { bufferPublish } = await import('../../src/consumer/index.ts')
  const publishing = onMessage(Counted, async ({ id, data }, { tx }) => {
    const message = { id, aggregateType: 'x', aggregateId: data.key, type: 'X', payload: Buffer.from(String(data.n)), headers: {} }
    // Later ones are ready earlier.
    bufferPublish(tx, new Promise((resolve) => setTimeout(() => resolve(message), 40 - data.n)))
    await tx.query(insertEffect, [id, data.key, data.n])
  })
  await using consumer = consume(broker, [publishing], { lanes: 1 })
  await settledAll(consumer, broker)
  const published = await rows<{ n: number }>(`select convert_from(payload, 'utf8')::int as n from tidemark.outbox order by seq`)
  expect(published.map(({ n }) => n)).toEqual(sequence(40))
})
