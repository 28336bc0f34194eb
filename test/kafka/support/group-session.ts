import { incrementalAlterConfigsV1 } from '@platformatic/kafka'
import { Cluster } from '../../../src/drivers/kafka/wire/cluster.ts'
import { systemClock } from '../../../src/internal/clock.ts'

const groupResource = 32 as const
const set = 0 as const

/** Sets how long these groups of the protocol `consumer` keep a silent member, which there is the broker's affair. */
export async function setGroupSessions(brokers: readonly string[], groups: readonly string[], sessionTimeoutMs: number): Promise<void> {
  const timeouts = { connectTimeoutMs: 5_000, requestTimeoutMs: 30_000 }
  const cluster = new Cluster({ brokers, clientId: 'test', ...timeouts, tls: undefined, sasl: undefined, clock: systemClock })
  const settings = { 'consumer.session.timeout.ms': sessionTimeoutMs, 'consumer.heartbeat.interval.ms': Math.floor(sessionTimeoutMs / 3) }
  const configs = Object.entries(settings).map(([name, value]) => ({ name, configOperation: set, value: String(value) }))
  try {
    const resources = groups.map((resourceName) => ({ resourceType: groupResource, resourceName, configs }))
    await cluster.call(await cluster.controller(), incrementalAlterConfigsV1.api, [resources, false])
  } finally {
    await cluster.close()
  }
}
