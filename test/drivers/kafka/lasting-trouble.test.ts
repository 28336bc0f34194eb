import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type KafkaBroker, kafka } from '../../../src/drivers/kafka/index.ts'
import { systemClock } from '../../../src/internal/clock.ts'
import { type TestKafka, kafkaAvailable, testKafka } from '../../support/kafka.ts'

const partitions = 16
const numbers = Array.from({ length: partitions }, (_, partition) => partition)

describe.skipIf(kafkaAvailable.missing)(`partitions that could not be read for long${kafkaAvailable.note}`, () => {
  let server: TestKafka
  let broker: KafkaBroker
  /** Of the broker's clock before the machine's. */
  let aheadMs = 0
  const clock = { ...systemClock, elapsed: () => systemClock.elapsed() + aheadMs }
  beforeAll(async () => {
    server = await testKafka()
    broker = kafka({ brokers: server.brokers, clock })
  })
  afterAll(() => broker.close())

  test('are read again at once when they can be, however many they are and however rarely the caller comes', async () => {
    const topic = server.name('trouble')
    await broker.topics([{ name: topic, partitions }])
    const appender = await broker.appender({ sourceEpoch: randomUUID(), generation: 1, stream: 0, epoch: 1, topics: [topic] })
    const record = { topic, key: null, value: Buffer.from('x'), headers: [], coordinate: null }
    await appender.append(numbers.map((partition) => ({ ...record, partition })))
    const reader = broker.reader()

    // Nobody leads in that epoch: none of them can be read.
    const unreadable = numbers.map((partition) => ({ topic, partition, offset: 0, leaderEpoch: 99 }))
    const patience = setTimeout(() => (aheadMs += 5_000), 200)
    await expect(reader.fetch(unreadable, { maxBytes: 1e6, maxWaitMs: 100 })).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE' })
    clearTimeout(patience)
    aheadMs += 20_000

    const left = new Set(numbers)
    let rejections = 0
    while (left.size > 0 && rejections < 5 * partitions) {
      try {
        const from = [...left].map((partition) => ({ topic, partition, offset: 0 }))
        for (const { partition } of await reader.fetch(from, { maxBytes: 1e6, maxWaitMs: 1_000 })) left.delete(partition)
      } catch {
        rejections += 1
        // The caller's pause, which grows with the failures in a row.
        aheadMs += 5_000
      }
    }
    expect([...left]).toEqual([])
    expect(rejections).toBe(1)
    await reader.close()
    await appender.close()
  })
})
