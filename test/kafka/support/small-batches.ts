import { createTopicsV7 } from '@platformatic/kafka'
import { Cluster } from '../../../src/drivers/kafka/wire/cluster.ts'
import { systemClock } from '../../../src/internal/clock.ts'
import { until } from '../../support/until.ts'

/** Makes a topic that takes two or three of these tests' messages in one batch, so that a page is several requests, one after the other. */
export async function makeTopicOfSmallBatches(brokers: readonly string[], name: string, numPartitions: number): Promise<void> {
  const timeouts = { connectTimeoutMs: 5_000, requestTimeoutMs: 30_000 }
  const cluster = new Cluster({ brokers, clientId: 'test', ...timeouts, tls: undefined, sasl: undefined, clock: systemClock })
  try {
    const configs = [{ name: 'max.message.bytes', value: '1500' }]
    const wanted = { name, numPartitions, replicationFactor: -1, assignments: [], configs }
    await cluster.call(await cluster.controller(), createTopicsV7.api, [[wanted], 10_000, false])
    await until('its partitions have leaders', async () => {
      const [found] = await cluster.describe([name])
      return found?.partitions.length === numPartitions && found.partitions.every(({ leader }) => leader !== null)
    })
  } finally {
    await cluster.close()
  }
}
