import { describe, expect, test } from 'vitest'
import { kafkaAvailable, testKafka } from '../support/kafka.ts'
import { admin, createTopic, read, send } from './kafka-clients.ts'

describe.skipIf(kafkaAvailable.missing)(`the broker of the run${kafkaAvailable.note}`, () => {
  test('carries a message, and is the same one for whoever asks', async () => {
    const kafka = await testKafka()
    const topic = kafka.name('carried')
    await createTopic(kafka.brokers, topic)
    await send(kafka.brokers, topic, 'hello')
    expect(await read((await testKafka()).brokers, topic, 'hello')).toEqual(['hello'])
  })

  test('makes no topic that nobody created', async () => {
    const kafka = await testKafka()
    const topic = kafka.name('never-made')
    await expect(send(kafka.brokers, topic, 'lost', { retries: 0 })).rejects.toThrow()
    expect(await admin(kafka.brokers).listTopics()).not.toContain(topic)
  })

  test('gives names that differ', async () => {
    const kafka = await testKafka()
    expect(kafka.name('a')).not.toBe(kafka.name('a'))
    expect(kafka.name('orders')).toMatch(/^orders-[a-z0-9]+$/)
  })
})
