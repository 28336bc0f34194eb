import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createPartitionsV3, createTopicsV7, deleteRecordsV2 } from '@platformatic/kafka'
import { afterAll } from 'vitest'
import { type Handler, onMessage } from '../../../src/consumer/index.ts'
import { type KafkaBroker, type KafkaBrokerOptions, kafka } from '../../../src/drivers/kafka/index.ts'
import { Cluster } from '../../../src/drivers/kafka/wire/cluster.ts'
import type { Node } from '../../../src/drivers/kafka/wire/node.ts'
import { systemClock } from '../../../src/internal/clock.ts'
import { until } from '../../support/until.ts'
import { Counted, countedRecord, insertEffect } from './consumer-database.ts'

/** Makes topics whose connections end after the file's tests. Call it at the top level of the test file. */
export function kafkaTopics(): (brokers: readonly string[], name: string, options?: Partial<KafkaBrokerOptions>) => KafkaTopic {
  const made: KafkaTopic[] = []
  afterAll(() => Promise.all(made.map((topic) => topic.close())))
  return (brokers, name, options) => {
    const topic = new KafkaTopic(brokers, name, options)
    made.push(topic)
    return topic
  }
}

/** A topic of counted messages on a real Kafka, and what operators do to it. */
export class KafkaTopic {
  readonly name: string
  readonly broker: KafkaBroker
  /** Notes each message in the table of effects. */
  readonly handler: Handler
  readonly #cluster: Cluster
  #senders = 0

  constructor(brokers: readonly string[], name: string, options: Partial<KafkaBrokerOptions> = {}) {
    this.name = name
    this.broker = kafka({ brokers, ...options })
    this.handler = onMessage({ ...Counted, topic: name }, async (message, { tx }) => {
      await tx.query(insertEffect, [message.id, message.data.key, message.data.n])
    })
    const timeouts = { connectTimeoutMs: 5_000, requestTimeoutMs: 30_000 }
    this.#cluster = new Cluster({ brokers, clientId: 'test', ...timeouts, tls: undefined, sasl: undefined, clock: systemClock })
  }

  async close(): Promise<void> {
    await this.broker.close()
    await this.#cluster.close()
  }

  /** Makes it with one partition on each of these sets of brokers, of which the first is to lead; without any, with one partition anywhere. */
  async create(replicas: readonly (readonly number[])[] = [], configs: Readonly<Record<string, string>> = {}): Promise<this> {
    const wanted = {
      name: this.name,
      numPartitions: replicas.length === 0 ? 1 : -1,
      replicationFactor: -1,
      assignments: replicas.map((brokerIds, partitionIndex) => ({ partitionIndex, brokerIds: [...brokerIds] })),
      configs: Object.entries(configs).map(([name, value]) => ({ name, value })),
    }
    const reply = await this.#cluster.call(await this.#cluster.controller(), createTopicsV7.api, [[wanted], 10_000, false])
    assert.equal(reply.topics[0]?.errorCode, 0)
    await until('the topic has a leader', async () => (await this.leader()) !== null)
    return this
  }

  delete(): Promise<void> {
    return this.broker.deleteTopic(this.name)
  }

  async leader(): Promise<Node | null> {
    const [found] = await this.#cluster.describe([this.name]).catch(() => [])
    return found?.partitions[0]?.leader ?? null
  }

  /** Has the messages before the offset deleted, as retention would. */
  async deleteBefore(offset: number): Promise<void> {
    const topics = [{ name: this.name, partitions: [{ partitionIndex: 0, offset: BigInt(offset) }] }]
    const reply = await this.#cluster.call((await this.leader())!, deleteRecordsV2.api, [topics, 10_000])
    assert.equal(reply.topics[0]?.partitions[0]?.errorCode, 0)
  }

  async grow(count: number): Promise<void> {
    const request = [{ name: this.name, count, assignments: null }]
    const reply = await this.#cluster.call(await this.#cluster.controller(), createPartitionsV3.api, [request, 10_000, false])
    assert.equal(reply.results[0]?.errorCode, 0)
  }

  /** Sends messages of the key to partition 0, with these numbers, by a sender that nobody knows. */
  async send(key: string, numbers: readonly number[]): Promise<void> {
    const claim = { sourceEpoch: randomUUID(), generation: 1, stream: this.#senders++, epoch: 1, topics: [this.name] }
    const appender = await this.broker.appender(claim)
    await appender.append(numbers.map((n) => ({ ...countedRecord(key, n), topic: this.name, partition: 0 })))
    await appender.close()
  }

  async end(): Promise<number> {
    return (await this.broker.offsets(this.name, 'latest'))[0]!
  }
}
