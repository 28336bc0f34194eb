import { describe, expect, test } from 'vitest'
import type { TidemarkError } from '../../src/errors.ts'
import { groupProtocols, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { consumerDatabase, sequence } from './support/consumer-database.ts'
import { type KafkaTopic, kafkaTopics } from './support/kafka-topic.ts'

/** A position that the topic does not bear out stops the consumer, with the remedy in the message; doing as it says lets it go on. */
describe.skipIf(kafkaAvailable.missing)(`positions in Kafka${kafkaAvailable.note}`, async () => {
  if (kafkaAvailable.missing) return
  const topicOn = kafkaTopics()
  const kafka = await testKafka()
  const { store, consume, effects, rows } = await consumerDatabase('kafka_positions')

  /** A topic with ten messages that a group has handled. */
  async function handled(groupProtocol: 'classic' | 'consumer' = 'classic') {
    const topic = await topicOn(kafka.brokers, kafka.name('t'), { groupProtocol }).create()
    const group = kafka.name('g')
    const start = () => consume(topic.broker, [topic.handler], { group, lanes: 2 })
    await topic.send(topic.name, sequence(10))
    const consumer = start()
    await until('ten to be settled', () => consumer.settledUpTo(topic.name, 0) === 10)
    return { topic, group, start, consumer }
  }

  const effectsOf = async ({ name }: KafkaTopic): Promise<number[]> => (await effects()).filter(({ key }) => key === name).map(({ n }) => n)
  const positions = async (group: string): Promise<number[]> => (await store.positions(group)).map(({ nextOffset }) => nextOffset)
  const rejection = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)

  /** Does what the message says, as an operator would. */
  async function obey(error: unknown): Promise<void> {
    const [statement] = /(?:update|delete from) consumer_position [^.]*/.exec((error as Error).message)!
    await rows(statement.replace('consumer_position', 'tidemark.consumer_position'))
  }

  test('keep the epoch of the leader, which a leader that stays bears out', async () => {
    const { topic, group, start, consumer } = await handled()
    await consumer.stop()
    expect(
      await rows('select distinct leader_epoch, leader_epoch_at::int from tidemark.consumer_position where group_name = $1', [group]),
    ).toEqual([{ leader_epoch: 0, leader_epoch_at: 10 }])
    await topic.send(topic.name, sequence(5, 10))
    const next = start()
    await until('fifteen to be settled', () => next.settledUpTo(topic.name, 0) === 15)
    expect(await effectsOf(topic)).toEqual(sequence(15))
  })

  test.each(groupProtocols)(
    'are noted at the broker when a consumer stops, for whoever looks there, by the group protocol %s',
    async (protocol) => {
      const { topic, group, consumer } = await handled(protocol)
      await consumer.stop()
      expect(await topic.broker.committed(group, topic.name)).toEqual([10])
    },
  )

  describe.each(groupProtocols)('in a topic that was deleted and made again, by the group protocol %s,', (protocol) => {
    const mismatch = {
      code: 'TOPIC_MISMATCH',
      message: expect.stringMatching(/deleted and made again.*delete its old rows: delete from consumer_position where/),
    }

    test('stop a consumer that runs', async () => {
      const { topic, group, consumer } = await handled(protocol)
      await topic.delete()
      await topic.create()
      await topic.send(topic.name, sequence(20, 100))
      const error = await rejection(consumer.done)
      // It may have looked in between.
      expect((error as TidemarkError).code).toMatch(/^TOPIC_(MISMATCH|UNKNOWN)$/)
      expect((error as TidemarkError).message).toContain('is lost to the group')
      expect(await effectsOf(topic)).toEqual(sequence(10))
      expect(await positions(group)).toEqual([10])
    })

    test('stop a consumer that starts, until the rows of the old one are deleted', async () => {
      const { topic, start, consumer } = await handled(protocol)
      await consumer.stop()
      await topic.delete()
      await topic.create()
      await topic.send(topic.name, sequence(20, 100))
      const error = await rejection(start().done)
      expect(error).toMatchObject(mismatch)
      expect(await effectsOf(topic)).toEqual(sequence(10))
      await obey(error)
      const next = start()
      await until('twenty to be settled', () => next.settledUpTo(topic.name, 0) === 20)
    })
  })

  test('below the first message that is kept stop a consumer, until they are moved there', async () => {
    const { topic, group, start, consumer } = await handled()
    await consumer.stop()
    await topic.send(topic.name, sequence(10, 10))
    await topic.deleteBefore(15)
    const error = await rejection(start().done)
    expect(error).toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      details: { group, topic: topic.name, partition: 0, offset: 10, startOffset: 15, endOffset: 20 },
      message: expect.stringContaining('Messages 10 to 14 are gone unhandled'),
    })
    await obey(error)
    const next = start()
    await until('all to be settled', () => next.settledUpTo(topic.name, 0) === 20)
    expect(await effectsOf(topic)).toEqual([...sequence(10), ...sequence(5, 15)])
  })

  test('behind the end stop a consumer, until they are moved there', async () => {
    const { topic, group, start, consumer } = await handled()
    await consumer.stop()
    await rows('update tidemark.consumer_position set next_offset = 50 where group_name = $1', [group])
    const error = await rejection(start().done)
    expect(error).toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      details: { offset: 50, startOffset: 0, endOffset: 10 },
      message: expect.stringContaining('of 10 to 49 is gone'),
    })
    await obey(error)
    await topic.send(topic.name, sequence(5, 10))
    const next = start()
    await until('all to be settled', () => next.settledUpTo(topic.name, 0) === 15)
    expect(await effectsOf(topic)).toEqual(sequence(15))
  })

  describe('in a topic that got more partitions', () => {
    const mismatch = {
      code: 'TOPIC_MISMATCH',
      message: expect.stringMatching(/has 3 partitions now.*positions in 1\..*addedPartitions: 'wait'/),
    }

    test('stop a consumer that runs', async () => {
      const { topic, group, consumer } = await handled()
      await topic.grow(3)
      await expect(consumer.done).rejects.toMatchObject(mismatch)
      expect(await positions(group)).toEqual([10])
    })

    test('stop a consumer that starts', async () => {
      const { topic, group, start, consumer } = await handled()
      await consumer.stop()
      await topic.grow(3)
      await topic.send(topic.name, sequence(5, 10))
      await expect(start().done).rejects.toMatchObject(mismatch)
      expect(await effectsOf(topic)).toEqual(sequence(10))
      expect(await positions(group)).toEqual([10])
    })
  })
})
