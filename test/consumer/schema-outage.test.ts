import { beforeEach, describe, expect, test } from 'vitest'
import { onMessage } from '../../src/consumer/index.ts'
import { event, jsonCodec, schemaRegistryFraming } from '../../src/message/index.ts'
import { until } from '../support/until.ts'
import {
  Counted,
  byKey,
  consumerDatabase,
  countedRecord,
  insertEffect,
  memoryTopic,
  placeInStream,
  sequence,
  settledAll,
} from './support/consumer-database.ts'

/** The registry knows some schemas of a batch and is away when it is asked for the others. */

const { consume, effects, rows, reset } = await consumerDatabase('schema_outage')
beforeEach(() => reset())

/** Every third message is written with a schema of its own. */
const schemaOf = (n: number): number => (n % 3 === 2 ? n : 1)
const framed = (key: string, n: number): Buffer => {
  const frame = Buffer.alloc(5)
  frame.writeUInt32BE(schemaOf(n), 1)
  return Buffer.concat([frame, jsonCodec.encode({ key, n }) as Buffer])
}

function registry(): { isAway: boolean; asked: number; readonly codec: ReturnType<typeof schemaRegistryFraming> } {
  const state = {
    isAway: false,
    asked: 0,
    codec: schemaRegistryFraming({
      encode: () => ({ schemaId: 1, bytes: Buffer.alloc(0) }),
      prepare: async (schemaId) => {
        if (schemaId === 1) return
        state.asked += 1
        if (state.isAway) throw new Error('the registry is away')
      },
      decode: (_, bytes) => jsonCodec.decode(bytes, null),
    }),
  }
  return state
}

describe.each([
  ['with coordinates, as the relay sends them', true],
  ['with ids alone, as others do', false],
])('messages %s', (_, hasCoordinate) => {
  test.each([1, 3])('are all handled once, in order, after the registry was away in mid-batch (%i lanes)', async (lanes) => {
    const known = registry()
    const keys = ['a', 'b', 'c']
    const Framed = event('Counted', { aggregate: 'counter', key: ({ key }) => key, schema: Counted.schema, codec: known.codec })
    const handler = onMessage(Framed, async ({ id, data }, { tx }) => void (await tx.query(insertEffect, [id, data.key, data.n])))
    const { broker, send } = await memoryTopic(1)
    const records = sequence(9).flatMap((n) => keys.map((key) => [key, n] as const))
    await send(
      records.map(([key, n], seq) =>
        countedRecord(key, n, { value: framed(key, n), coordinate: hasCoordinate ? placeInStream(seq + 1) : null }),
      ),
    )
    known.isAway = true
    await using consumer = consume(broker, [handler], { lanes })
    await until('what precedes the first unknown schema is handled', async () => (await effects()).length >= 6)
    await until('it was asked for more than once', () => known.asked > 2 * lanes)
    expect(await effects()).toHaveLength(6)
    known.isAway = false
    await settledAll(consumer, broker)
    const done = byKey(await effects())
    for (const key of keys) expect(done.get(key)).toEqual(sequence(9))
    expect(consumer.status().counts).toMatchObject({ handled: 27, duplicates: { position: 0, highWater: 0, inbox: 0 }, deadLetters: 0 })
    expect(await rows('select from tidemark.parked_key')).toEqual([])
  })
})
