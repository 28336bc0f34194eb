import { beforeEach, expect, test } from 'vitest'
import { z } from 'zod'
import { onMessage } from '../../src/consumer/index.ts'
import { event, schemaRegistryFraming } from '../../src/message/index.ts'
import type { SequencedRecord } from '../../src/message/index.ts'
import { until } from '../support/until.ts'
import { Counted, consumerDatabase, insertEffect, memoryTopic, settledAll } from './support/consumer-database.ts'

const { consume, effects, rows, reset } = await consumerDatabase('foreign_bodies')

beforeEach(async () => {
  await reset()
})

/** A record as a program writes it that knows no envelope. */
function bare(n: number, value: Buffer): SequencedRecord {
  return { topic: Counted.topic, partition: 0, key: Buffer.from(`k${n}`), value, headers: [], coordinate: null }
}

const json = (n: number): Buffer => Buffer.from(JSON.stringify({ key: `k${n}`, n }))
const framed = (schemaId: number, n: number): Buffer => Buffer.concat([Buffer.from([0, 0, 0, 0, schemaId]), json(n)])

const base = { aggregate: 'counter', key: ({ key }: { key: string }) => key, schema: z.object({ key: z.string(), n: z.number() }) }
const handlerOf = (definition: typeof Counted) =>
  onMessage(definition, async ({ id, data }, { tx }) => void (await tx.query(insertEffect, [id, data.key, data.n])))
const letters = () =>
  rows<{ value: Buffer; reason: string; type: string | null }>('select value, reason, type from tidemark.dead_letter order by id')

test('records without any envelope are the event that says so, known by their places', async () => {
  const { broker, send } = await memoryTopic(1)
  await send([bare(1, json(1)), bare(2, Buffer.from('hello')), bare(3, json(3))])
  await using consumer = consume(broker, [handlerOf(event('Counted', { ...base, untyped: true }))])
  await settledAll(consumer, broker)
  expect((await effects()).map(({ id, n }) => [id, n]).sort()).toEqual([
    [`${Counted.topic}-0-0`, 1],
    [`${Counted.topic}-0-2`, 3],
  ])
  expect(await letters()).toMatchObject([{ value: Buffer.from('hello'), reason: expect.stringContaining('Expected JSON') }])
})

test('two events of a topic cannot both be what names no type', async () => {
  const { broker } = await memoryTopic(1)
  const both = ['Counted', 'Recounted'].map((type) => handlerOf(event(type, { ...base, untyped: true }) as typeof Counted))
  expect(() => consume(broker, both)).toThrow('are both to be what names no type')
})

test('a framed message without a codec goes to the dead letters with its bytes, and says what it is', async () => {
  const { broker, send } = await memoryTopic(1)
  await send([bare(1, framed(77, 1)), bare(2, json(2))])
  await using consumer = consume(broker, [handlerOf(event('Counted', { ...base, untyped: true }))])
  await settledAll(consumer, broker)
  expect((await effects()).map(({ n }) => n)).toEqual([2])
  expect(await letters()).toMatchObject([
    { value: framed(77, 1), reason: expect.stringContaining('framed for a schema registry (schema id 77)') },
  ])
})

test('framed messages wait for a registry that is away, charged to nobody; one of a schema that it does not have is dead', async () => {
  const { broker, send } = await memoryTopic(1)
  let away = true
  const codec = schemaRegistryFraming({
    encode: () => expect.fail('nothing is written'),
    prepare: async (schemaId) => {
      if (schemaId === 2 && away) throw new Error('503 Service Unavailable')
      return schemaId !== 3
    },
    decode: (_, bytes) => JSON.parse(bytes.toString()) as unknown,
  })
  await send([bare(1, framed(1, 1)), bare(2, framed(2, 2)), bare(3, framed(3, 3)), bare(4, framed(1, 4))])
  await using consumer = consume(broker, [handlerOf(event('Counted', { ...base, untyped: true, codec }))], {
    lanes: 1,
    retry: { maxAttempts: 1 },
  })
  await until('it says what it waits for', () => consumer.status().trouble?.includes('SCHEMA_UNAVAILABLE') === true)
  // What precedes it is done.
  await until('the first effect', async () => (await effects()).length === 1)
  away = false
  await settledAll(consumer, broker)
  expect((await effects()).map(({ n }) => n)).toEqual([1, 2, 4])
  expect(await letters()).toMatchObject([{ value: framed(3, 3), reason: 'Expected a schema that the registry has, got schema id 3.' }])
  expect(consumer.status().counts.retries).toBe(0)
})
