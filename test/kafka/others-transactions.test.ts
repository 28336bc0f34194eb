import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type KafkaBroker, kafka as kafkaBroker } from '../../src/drivers/kafka/index.ts'
import { ProducerSession } from '../../src/drivers/kafka/produce/producer-session.ts'
import { encodeBatch } from '../../src/drivers/kafka/record-batch/encode-batch.ts'
import { systemClock } from '../../src/internal/clock.ts'
import { countedRecord } from '../consumer/support/consumer-database.ts'
import { RawLog } from '../drivers/kafka/support/raw-log.ts'
import { type TestKafka, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { readWire } from './support/wire.ts'

describe.skipIf(kafkaAvailable.missing)(`a fenced stream beside transactions of others on Kafka${kafkaAvailable.note}`, () => {
  let kafka: TestKafka
  let broker: KafkaBroker
  beforeAll(async () => {
    kafka = await testKafka()
    broker = kafkaBroker({ brokers: kafka.brokers, fenceStreams: true })
  })
  afterAll(() => broker?.close())

  /** A transaction of somebody else in the topic's partition, and what ends it. */
  async function openTransaction(log: RawLog): Promise<() => Promise<void>> {
    const id = kafka.name('other')
    const common = { clock: systemClock, transactionTimeoutMs: 60_000, patienceMs: 20_000, lane: id, closing: new AbortController().signal }
    const session = new ProducerSession({ cluster: log.cluster, transactionalId: id, ...common })
    await session.open()
    await session.enlist([{ topic: log.topic, partition: 0 }])
    const record = { key: null, value: Buffer.from('{}'), headers: [] }
    const options = { baseSequence: 0, transactional: true, timestamp: Date.now(), compression: 'none' } as const
    expect(await log.produce(encodeBatch([record], { ...session.id, ...options }), id)).toBe(0)
    return () => session.end(true)
  }

  test('goes on while one is open, and its pages are seen once that has ended', async () => {
    const topic = kafka.name('beside')
    const log = await RawLog.make(kafka.brokers, topic)
    const appender = await broker.appender({ sourceEpoch: `${topic}.1`, generation: 1, stream: 0, epoch: 1, topics: [topic] })
    const page = (tick: number) => {
      const coordinate = { sourceEpoch: `${topic}.1`, generation: 1, stream: 0, tick, seq: tick }
      return [{ ...countedRecord('a', tick, { coordinate }), topic }]
    }
    const seen = async (): Promise<number[]> => (await readWire({ brokers: kafka.brokers }, topic)).flatMap(({ n }) => n ?? [])
    await appender.append(page(1))
    // An append resolves once its page is seen.
    expect(await seen()).toEqual([1])
    const end = await openTransaction(log)
    const since = performance.now()
    await appender.append(page(2))
    await appender.append(page(3))
    // Far below the time for a delivery.
    expect(performance.now() - since).toBeLessThan(10_000)
    expect(await seen()).toEqual([1])
    await end()
    expect(await seen()).toEqual([1, 2, 3])
    await appender.close()
  })
})
