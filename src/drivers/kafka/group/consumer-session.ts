import { describeConfigsV4 } from '../client.ts'
import type { Cluster } from '../wire/cluster.ts'
import type { Node } from '../wire/node.ts'

/** Kafka's default; also the least it takes, unless its own least is changed. */
const defaultSessionTimeoutMs = 45_000

const resource = { broker: 4, group: 32 } as const

/**
 * How long a group of the consumer protocol keeps a silent member: a setting of the group, else of its coordinator, which members are not told.
 * Where it cannot be read (no right to describe settings, a broker without settings of groups) it is Kafka's default.
 */
export async function consumerSessionTimeoutMs(cluster: Cluster, group: string): Promise<number> {
  const coordinator = await cluster.coordinator('group', group)
  return (
    (await setting(cluster, coordinator, resource.group, group, 'consumer.session.timeout.ms')) ??
    (await setting(cluster, coordinator, resource.broker, String(coordinator.id), 'group.consumer.session.timeout.ms')) ??
    defaultSessionTimeoutMs
  )
}

async function setting(cluster: Cluster, from: Node, resourceType: 4 | 32, resourceName: string, name: string): Promise<number | null> {
  try {
    const reply = await cluster.call(from, describeConfigsV4.api, [
      [{ resourceType, resourceName, configurationKeys: [name] }],
      false,
      false,
    ])
    const found = reply.results.flatMap(({ errorCode, configs }) => (errorCode === 0 ? configs : [])).find((one) => one.name === name)
    const value = Number(found?.value ?? NaN)
    return value > 0 ? value : null
  } catch {
    return null
  }
}
