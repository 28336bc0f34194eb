import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { type KafkaBroker, kafka } from '../../src/drivers/kafka/index.ts'
import { postgres } from '../../src/drivers/postgres/index.ts'
import { event } from '../../src/message/index.ts'
import { service } from '../../src/service/index.ts'
import { type TestKafka, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { kcatAvailable, kcatRead, kcatSend } from './support/kcat.ts'

const missing = kafkaAvailable.missing || kcatAvailable.missing

describe.skipIf(missing)(`retry topics with kcat at both ends${kafkaAvailable.note}${kcatAvailable.note}`, async () => {
  const { connectionString } = await testDatabase('retry_topics_kafka')
  let cluster: TestKafka
  let broker: KafkaBroker
  beforeAll(async () => {
    cluster = await testKafka()
    broker = kafka({ brokers: cluster.brokers })
  })
  afterAll(() => broker?.close())

  /** kcat's view of a topic's first records: key, value, and headers one by one. */
  async function read(topic: string, count: number) {
    const lines = (await kcatRead(cluster.brokers, topic, count, ['-f', '%k\\x1f%s\\x1f%h\\x1e'])).toString().split('\x1e').slice(0, -1)
    return lines.map((line) => {
      const [key, value, headers] = line.split('\x1f')
      return { key, value: JSON.parse(value!) as unknown, headers: headers! }
    })
  }

  test('what failed is read from the retry topic, what died from the topic of the dead; what is put there again is handled once more', async () => {
    const group = cluster.name('shop').toLowerCase()
    const Placed = event('OrderPlaced', {
      aggregate: 'order',
      topic: cluster.name('orders'),
      key: ({ id }) => id,
      schema: z.object({ id: z.string(), n: z.number() }),
    })
    const runs: string[] = []
    let isMended = false
    const database = postgres({ connectionString: connectionString(), maxConnections: 6 })
    const consumer = { retryTopics: { delaysMs: [50, 100] }, retry: { immediate: 0, maxAttempts: 3 }, idleAdvanceMs: 100 }
    const shop = service('shop', { database, broker, group, partitions: 3, outbox: { idleMs: 5 }, consumer })
    shop.consume(Placed, ({ data: { id, n } }, { attempt }) => {
      runs.push(`${id} ${n} ${attempt}`)
      if (!isMended && n === 0) throw new TypeError('not sold')
    })
    onTestFinished(() => shop.stop())
    await shop.start()
    await shop.transaction(async (tx) => {
      await shop.publish(tx, Placed, { id: 'ключ', n: 0 })
      await shop.publish(tx, Placed, { id: 'ключ', n: 1 })
    })
    await shop.settled({ timeoutMs: 30_000 })
    expect(runs).toEqual(expect.arrayContaining(['ключ 0 1', 'ключ 0 2', 'ключ 0 3', 'ключ 1 1']))
    expect(runs).toHaveLength(4)

    for (const [tier, count] of [
      [1, 1],
      [2, 2],
    ]) {
      const [waited] = await read(`${Placed.topic}.${group}.retry.${tier}`, 1)
      expect(waited).toMatchObject({ key: 'ключ', value: { id: 'ключ', n: 0 } })
      expect(waited!.headers).toContain(`tidemark-original-topic=${Placed.topic},`)
      expect(waited!.headers).toContain(`tidemark-retry-count=${count},`)
      expect(waited!.headers).toContain('ce_type=OrderPlaced,')
    }
    const dead = `${Placed.topic}.${group}.dlq`
    const [letter] = await read(dead, 1)
    expect(letter).toMatchObject({ key: 'ключ', value: { id: 'ключ', n: 0 } })
    expect(letter!.headers).toContain('tidemark-error=not sold')
    expect(letter!.headers).toContain('tidemark-error-class=TypeError,')

    // A foreign tool puts it back, without our headers and with an id of its own.
    isMended = true
    const headers = [
      ['ce_id', 'mended'],
      ['ce_type', 'OrderPlaced'],
    ] as const
    await kcatSend(cluster.brokers, `${Placed.topic}.${group}.retry.1`, [{ key: 'ключ', value: JSON.stringify(letter!.value) }], {
      headers,
    })
    await until('it ran', () => runs.length === 5)
    // By the topic it has failed once before.
    expect(runs[4]).toBe('ключ 0 2')
    await shop.settled({ timeoutMs: 30_000 })
    expect(runs).toHaveLength(5)
  })
})
