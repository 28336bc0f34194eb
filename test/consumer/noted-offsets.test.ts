import { expect, test } from 'vitest'
import type { MemoryBroker } from '../../src/drivers/memory/index.ts'
import { TidemarkError } from '../../src/errors.ts'
import type { Broker } from '../../src/message/index.ts'
import { until } from '../support/until.ts'
import { Counted, consumerDatabase, countEffect, countedRecord, memoryTopic, settledAll } from './support/consumer-database.ts'

const { consume, rows } = await consumerDatabase('noted_offsets')

/** A broker whose group is on the move whenever somebody wants to note offsets, the first few times. */
function restless(broker: MemoryBroker, refusals: number): { readonly broker: Broker; refused(): number } {
  let refused = 0
  const join: Broker['join'] = async (options, listener) => {
    const membership = await broker.join(options, listener)
    return {
      fetch: (from, how) => membership.fetch(from, how),
      leave: () => membership.leave(),
      commit: async (offsets) => {
        if (refused >= refusals) return membership.commit(offsets)
        refused += 1
        throw new TidemarkError('GROUP_FENCED', 'The group shares out its partitions anew.')
      },
    }
  }
  return {
    refused: () => refused,
    broker: {
      traits: broker.traits,
      topics: (specs) => broker.topics(specs),
      appender: (stream) => broker.appender(stream),
      join,
      reader: () => broker.reader(),
      offsets: (topic, at) => broker.offsets(topic, at),
      committed: (group, topic) => broker.committed(group, topic),
      close: () => broker.close(),
    },
  }
}

test('offsets that the broker did not note, because the group was on the move, are told again, though nothing new has come', async () => {
  const { broker: memory, send } = await memoryTopic(1)
  const { broker, refused } = restless(memory, 3)
  await send([countedRecord('a', 1), countedRecord('a', 2)])
  await using consumer = consume(broker, [countEffect])
  await settledAll(consumer, broker)
  await until('the offset is noted', async () => (await broker.committed('test', Counted.topic))[0] === 2)
  expect(refused()).toBe(3)
  // A group that moves is no trouble.
  expect(consumer.status().trouble).toBeNull()
  expect(await rows('select next_offset::int as n from tidemark.consumer_position')).toContainEqual({ n: 2 })
})
