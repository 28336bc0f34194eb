import { afterAll, describe, expect, test } from 'vitest'
import { TidemarkError, event, service } from 'tidemark'
import { kafka } from 'tidemark/kafka'
import { memory } from 'tidemark/memory'
import { z } from 'zod'
import { channels } from '../../../src/telemetry/channels.ts'
import { kafkaAvailable, testKafka } from '../../support/kafka.ts'

describe.skipIf(kafkaAvailable.missing)(`topics on Kafka${kafkaAvailable.note}`, async () => {
  if (kafkaAvailable.missing) return test('are not there', () => undefined)
  const cluster = await testKafka()
  const broker = kafka({ brokers: cluster.brokers })
  afterAll(() => broker.close())

  test('are made with partitions, retention and compaction, and say later in what they are not as expected', async () => {
    const name = cluster.name('kept')
    const made = { name, partitions: 3, retentionMs: 3_600_000, compact: true }
    expect(await broker.topics([made])).toEqual([{ name, id: expect.any(String) as string, partitions: 3 }])
    expect((await broker.topics([made]))[0]!.differs).toBeUndefined()
    expect((await broker.topics([{ name, retentionMs: 60_000 }]))[0]!.differs).toBeUndefined()
    const [other] = await broker.topics([{ name, partitions: 12, retentionMs: 86_400_000, compact: false }])
    expect(other!.differs).toEqual([
      '3 partitions, expected 12',
      'keeps records for 3600000 ms, expected at least 86400000',
      'is compacted, expected to keep every record',
    ])
  })

  test('that are not as a service expects are told on a diagnostics channel at its start', async () => {
    const Happened = event('Happened', {
      topic: cluster.name('happened'),
      aggregate: 'thing',
      key: ({ id }) => id,
      schema: z.object({ id: z.string() }),
    })
    await broker.topics([{ name: Happened.topic, partitions: 2 }])
    const told: unknown[] = []
    const listen = (message: unknown): void => void told.push(message)
    channels.topicDiffers.subscribe(listen)
    const topics = [{ name: Happened.topic, partitions: 6 }]
    const reader = service('reader', { database: memory(), broker, topics, group: cluster.name('group') }).consume(
      Happened,
      async () => undefined,
    )
    await reader.start()
    await reader.stop()
    channels.topicDiffers.unsubscribe(listen)
    expect(told).toEqual([{ service: 'reader', topic: Happened.topic, differs: ['2 partitions, expected 6'] }])
  })

  test('that are missing are an error where they may not be made', async () => {
    const strict = kafka({ brokers: cluster.brokers, createTopics: false })
    const name = cluster.name('missing')
    const error: unknown = await strict.topics([{ name }]).catch((reason: unknown) => reason)
    expect(TidemarkError.is(error, 'TOPIC_UNKNOWN')).toBe(true)
    expect(String(error)).toContain(name)
    expect(await broker.committed(cluster.name('group'), name).catch((reason: unknown) => TidemarkError.is(reason, 'TOPIC_UNKNOWN'))).toBe(
      true,
    )
    await strict.close()
  })
})
