import { describe, expect, test } from 'vitest'
import type { MemoryBroker } from '../../src/drivers/memory/index.ts'
import { TidemarkError } from '../../src/errors.ts'
import { type Clock, systemClock } from '../../src/internal/clock.ts'
import type { Broker, Membership } from '../../src/message/index.ts'
import { until } from '../support/until.ts'
import { Counted, consumerDatabase, countEffect, countedRecord, memoryTopic, settledAll } from './support/consumer-database.ts'

const { consume, rows } = await consumerDatabase('noted_offsets')

type Commit = Membership['commit']

/** The broker with another way of noting offsets. */
function noting(broker: MemoryBroker, commit: (offsets: Parameters<Commit>[0], note: Commit) => Promise<void>): Broker {
  return {
    traits: broker.traits,
    topics: (specs) => broker.topics(specs),
    appender: (stream) => broker.appender(stream),
    async join(options, listener) {
      const membership = await broker.join(options, listener)
      return {
        fetch: (from, how) => membership.fetch(from, how),
        leave: () => membership.leave(),
        commit: (offsets) => commit(offsets, (noted) => membership.commit(noted)),
      }
    },
    reader: () => broker.reader(),
    offsets: (topic, at) => broker.offsets(topic, at),
    committed: (group, topic) => broker.committed(group, topic),
    close: () => broker.close(),
  }
}

test('offsets that the broker did not note, because the group was on the move, are told again, though nothing new has come', async () => {
  const { broker: memory, send } = await memoryTopic(1)
  let refused = 0
  const broker = noting(memory, async (offsets, note) => {
    if (refused === 3) return note(offsets)
    refused += 1
    throw new TidemarkError('GROUP_FENCED', 'The group shares out its partitions anew.')
  })
  await send([countedRecord('a', 1), countedRecord('a', 2)])
  await using consumer = consume(broker, [countEffect])
  await settledAll(consumer, broker)
  await until('the offset is noted', async () => (await broker.committed('test', Counted.topic))[0] === 2)
  expect(refused).toBe(3)
  // A group that moves is no trouble.
  expect(consumer.status().trouble).toBeNull()
  expect(await rows('select next_offset::int as n from tidemark.consumer_position')).toContainEqual({ n: 2 })
})

describe('a consumer that stops', () => {
  test('tells the broker how far it is, before it leaves', async () => {
    const { broker, send } = await memoryTopic(1)
    const consumer = consume(broker, [countEffect], { group: 'stops', idleAdvanceMs: 60_000 })
    await send([countedRecord('a', 1), countedRecord('a', 2)])
    await until('both are handled', () => consumer.settledUpTo(Counted.topic, 0) === 2)
    await consumer.stop()
    expect(await broker.committed('stops', Counted.topic)).toEqual([2])
  })

  /** The second word of a consumer, told while there is no answer to the first, could come before it, and the group's offset would go back. */
  test.each([
    ['is still waited for', () => new Promise<void>(() => undefined)],
    ['never came', () => Promise.reject(new TidemarkError('BROKER_UNREACHABLE', 'No reply came in time.'))],
  ])('tells nothing when an answer to what it told before %s, and stops all the same', async (group, first) => {
    const { broker: memory, send } = await memoryTopic(1)
    const told: number[] = []
    const broker = noting(memory, (offsets) => {
      told.push(offsets[0]!.offset)
      return first()
    })
    // It ticks until the first word is told, and not again.
    const idleAdvanceMs = 17
    const after: Clock['after'] = (ms, fn) => (ms === idleAdvanceMs && told.length > 0 ? () => undefined : systemClock.after(ms, fn))
    const consumer = consume(broker, [countEffect], { group, idleAdvanceMs, clock: { ...systemClock, after } })
    await until('the first word is told', () => told.length === 1)
    await send([countedRecord('a', 1), countedRecord('a', 2)])
    await until('both are handled', () => consumer.settledUpTo(Counted.topic, 0) === 2)
    await consumer.stop()
    expect(told).toEqual([0])
  })
})
