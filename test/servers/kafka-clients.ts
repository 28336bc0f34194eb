import { Admin, type AdminOptions, Consumer, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'
import { afterEach } from 'vitest'
import { uniqueName } from '../support/kafka.ts'

const closers: (() => Promise<void>)[] = []

afterEach(async () => {
  await Promise.allSettled(closers.splice(0).map((close) => close()))
})

/** How a client reaches a listener, and how often it tries. */
export type Reaching = Partial<AdminOptions>

/** A client that creates topics, closed after the test. */
export function admin(brokers: readonly string[], reaching: Reaching = {}): Admin {
  const client = new Admin({ clientId: 'test', bootstrapBrokers: [...brokers], ...reaching })
  closers.push(() => client.close())
  return client
}

/** Creates a topic. */
export async function createTopic(brokers: readonly string[], topic: string, replicas = 1): Promise<void> {
  await admin(brokers).createTopics({ topics: [topic], partitions: 1, replicas })
}

/** Sends a text to a topic, and waits until every replica that must have it has it. */
export async function send(brokers: readonly string[], topic: string, value: string, reaching: Reaching = {}): Promise<void> {
  const client = new Producer({ clientId: 'test', bootstrapBrokers: [...brokers], serializers: stringSerializers, ...reaching })
  closers.push(() => client.close())
  await client.send({ messages: [{ topic, key: 'key', value }], acks: -1 })
}

/** The texts of a topic from its start up to the first that is `last`. */
export async function read(brokers: readonly string[], topic: string, last: string, reaching: Reaching = {}): Promise<readonly string[]> {
  const settings = { clientId: 'test', bootstrapBrokers: [...brokers], groupId: uniqueName('reader'), ...reaching }
  const client = new Consumer({ ...settings, deserializers: stringDeserializers })
  closers.push(() => client.close())
  const stream = await client.consume({ topics: [topic], mode: 'earliest' })
  const values: string[] = []
  for await (const { value } of stream) {
    values.push(value)
    if (value === last) break
  }
  await stream.close()
  return values
}
