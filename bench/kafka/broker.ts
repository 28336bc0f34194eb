import { kafka } from 'tidemark/kafka'
import type { KafkaBroker } from 'tidemark/kafka'
import { startKafka } from '../../servers/kafka.ts'
import { usageOf } from '../../servers/process-usage.ts'

/** The one Kafka broker of the bench, set up as Kafka's own script does it, on the same machine as everything else. */
export interface BenchBroker {
  readonly addresses: readonly string[]
  /** To look at topics with. */
  readonly client: KafkaBroker
  cpuSeconds(): Promise<number>
  /** Runs `use` with topics that exist nowhere else, and deletes them afterwards: no run leaves data for the disk to write in another's time. */
  withTopics<T>(names: readonly string[], use: () => Promise<T>): Promise<T>
  stop(): Promise<void>
}

export const partitions = 8

/** What differs from Kafka's own defaults, as far as it can matter to a figure. */
export const brokerSettings = {
  // The broker's clock stands in every record then: when the first and the last one came is read from the log, for all systems alike.
  'log.message.timestamp.type': 'LogAppendTime',
  'num.partitions': partitions,
}

const heapMb = 1_024

export async function startBroker(): Promise<BenchBroker> {
  const cluster = await startKafka({ speed: 'full', heapMb, properties: brokerSettings })
  const client = kafka({ brokers: cluster.brokers, defaultPartitions: partitions })
  return {
    addresses: cluster.brokers,
    client,
    cpuSeconds: async () => (await usageOf(cluster.nodes[0]!.pid!)).cpuSeconds,
    async withTopics(names, use) {
      await client.topics(names.map((name) => ({ name, partitions })))
      try {
        return await use()
      } finally {
        for (const name of names) await client.deleteTopic(name)
      }
    },
    async stop() {
      await client.close()
      await cluster.stop()
    },
  }
}
