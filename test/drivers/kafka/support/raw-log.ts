import { afterAll } from 'vitest'
import { createTopicsV7 } from '../../../../src/drivers/kafka/client.ts'
import { produceApi } from '../../../../src/drivers/kafka/produce/produce-api.ts'
import { type FetchAnswer, fetchApi } from '../../../../src/drivers/kafka/read/fetch-api.ts'
import { Cluster, type ClusterTopic } from '../../../../src/drivers/kafka/wire/cluster.ts'
import type { Node } from '../../../../src/drivers/kafka/wire/node.ts'
import { systemClock } from '../../../../src/internal/clock.ts'
import { until } from '../../../support/until.ts'

/** One partition of a real broker, as bytes: what is produced goes in as it is, what is fetched is as it lies in the log. */
export class RawLog {
  readonly cluster: Cluster
  readonly topic: string
  readonly #topicId: string
  readonly #leader: Node

  private constructor(cluster: Cluster, topic: string, topicId: string, leader: Node) {
    this.cluster = cluster
    this.topic = topic
    this.#topicId = topicId
    this.#leader = leader
  }

  /** Makes the topic, with one partition. Its connections end after the file's tests. */
  static async make(brokers: readonly string[], topic: string, configs: Readonly<Record<string, string>> = {}): Promise<RawLog> {
    const timeouts = { connectTimeoutMs: 5_000, requestTimeoutMs: 30_000 }
    const cluster = new Cluster({ brokers, clientId: 'test', ...timeouts, tls: undefined, sasl: undefined, clock: systemClock })
    afterAll(() => cluster.close())
    const wanted = {
      name: topic,
      numPartitions: 1,
      replicationFactor: -1,
      assignments: [],
      configs: Object.entries(configs).map(([name, value]) => ({ name, value })),
    }
    await cluster.call(await cluster.controller(), createTopicsV7.api, [[wanted], 10_000, false])
    let found: ClusterTopic | undefined
    await until('the topic has a leader', async () => {
      ;[found] = await cluster.describe([topic])
      return (found?.partitions[0]?.leader ?? null) !== null
    })
    return new RawLog(cluster, topic, found!.id, found!.partitions[0]!.leader!)
  }

  /** The error code of the broker, 0 where it took the batch. */
  async produce(batch: Buffer, transactionalId: string | null = null): Promise<number> {
    const [answer] = await this.cluster.call(this.#leader, produceApi, [
      transactionalId,
      10_000,
      [{ topic: this.topic, partition: 0, batch }],
    ])
    return answer!.errorCode
  }

  /** What the broker gives from an offset on, as far as transactions have ended. */
  async fetch(offset = 0): Promise<FetchAnswer & { readonly records: Buffer }> {
    const place = { topicId: this.#topicId, partition: 0, offset, leaderEpoch: -1 }
    const limits = { maxWaitMs: 500, maxBytes: 50_000_000, maxPartitionBytes: 50_000_000 }
    const { partitions } = await this.cluster.call(this.#leader, fetchApi, [[place], limits])
    const answer = partitions[0]!
    return { ...answer, records: answer.records ?? Buffer.alloc(0) }
  }
}

/** The attributes of each batch, from which its compression can be seen. */
export function attributesOf(batches: Buffer): number[] {
  const attributes: number[] = []
  for (let at = 0; at < batches.length; at += 12 + batches.readInt32BE(at + 8)) attributes.push(batches.readInt16BE(at + 21))
  return attributes
}
