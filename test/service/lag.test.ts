import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Service, event, service, settled } from 'tidemark'
import { kafka } from 'tidemark/kafka'
import { postgres, postgresBroker } from 'tidemark/postgres'
import { z } from 'zod'
import type { Broker } from '../../src/message/port.ts'
import { kafkaAvailable, testKafka, uniqueName } from '../support/kafka.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const producing = await testDatabase('producing')
const consuming = await testDatabase('consuming')
const logDatabase = await testDatabase('log')
const cluster = kafkaAvailable.missing ? null : await testKafka()

const brokers: readonly (readonly [string, boolean, () => Broker])[] = [
  ['postgres', true, () => postgresBroker({ connection: () => logDatabase.connection() })],
  [`kafka${kafkaAvailable.note}`, cluster !== null, () => kafka({ brokers: cluster!.brokers })],
]

describe.each(brokers)('the lag of a group on %s', (name, available, make) => {
  if (!available) return test.skip(name)
  const Counted = event('Counted', {
    topic: uniqueName('counted'),
    aggregate: 'counter',
    key: ({ key }) => key,
    schema: z.object({ key: z.string() }),
  })
  const group = uniqueName('group')
  let broker: Broker
  let producer: Service
  let consumer: Service

  const newConsumer = (): Service =>
    service('consumer', { database: postgres({ connection: () => consuming.connection() }), broker }).consume(
      Counted,
      { group },
      async () => undefined,
    )
  const publish = (keys: readonly string[]): Promise<void> =>
    producer.transaction((tx) =>
      producer.publishAll(
        tx,
        keys.map((key) => ({ event: Counted, data: { key } })),
      ),
    )

  beforeAll(async () => {
    broker = make()
    await broker.topics([{ name: Counted.topic, partitions: 2 }])
    producer = service('producer', { database: postgres({ connection: () => producing.connection() }), broker })
    consumer = newConsumer()
    await producer.start()
  })
  afterAll(async () => {
    await Promise.all([producer.stop(), consumer.stop()])
    await broker.close()
  })

  test('is nothing in an idle topic, however old its last message; grows while the consumer is stopped; names the heaviest keys', async () => {
    await publish(['a', 'b'])
    await consumer.start()
    await settled([producer, consumer])
    const idle = await consumer.lag()
    expect(idle.map(({ partition, messages, seconds, heaviestKeys }) => [partition, messages, seconds, heaviestKeys.length])).toEqual([
      [0, 0, 0, 0],
      [1, 0, 0, 0],
    ])
    await consumer.stop()
    consumer = newConsumer()
    await publish(['a', 'a', 'b', 'a', 'c', 'c'])
    await producer.settled()
    const behind = await consumer.lag({ keys: 2 })
    expect(behind.reduce((sum, { messages }) => sum + messages, 0)).toBe(6)
    expect(behind.flatMap(({ heaviestKeys }) => heaviestKeys)).toContainEqual({ key: 'a', messages: 3 })
    expect(behind.every(({ heaviestKeys }) => heaviestKeys.length <= 2)).toBe(true)
    const oldest = Math.max(...behind.map(({ seconds }) => seconds))
    expect(oldest).toBeGreaterThan(0)
    await until('the backlog to age', async () => Math.max(...(await consumer.lag()).map(({ seconds }) => seconds)) > oldest)
    await consumer.start()
    await consumer.settled()
    expect((await consumer.lag()).map(({ messages, seconds }) => [messages, seconds])).toEqual([
      [0, 0],
      [0, 0],
    ])
  })

  test('beyond the sample offsets are counted', async () => {
    await consumer.stop()
    consumer = newConsumer()
    await publish(Array.from({ length: 50 }, () => 'a'))
    await producer.settled()
    const behind = await consumer.lag({ sample: 10 })
    const [one] = behind.filter(({ messages }) => messages > 0)
    expect(one).toMatchObject({ messages: 50, heaviestKeys: [{ key: 'a', messages: 10 }] })
  })
})
