import { ConfigResourceTypes, IncrementalAlterConfigOperationTypes } from '@platformatic/kafka'
import { admin } from '../../servers/kafka-clients.ts'
import { until } from '../../support/until.ts'

const setting = 'max.message.bytes'

/** Makes a topic that takes batches of up to so many bytes. */
export async function makeTopic(brokers: readonly string[], topic: string, partitions: number, maxBatchBytes: number): Promise<void> {
  await admin(brokers).createTopics({ topics: [topic], partitions, configs: [{ name: setting, value: String(maxBatchBytes) }] })
  await until('the topic has its limit', async () => (await limitOf(brokers, topic)) === maxBatchBytes)
}

/** Gives a topic another limit, as an operator would. */
export async function changeLimit(brokers: readonly string[], topic: string, maxBatchBytes: number): Promise<void> {
  const configs = [{ name: setting, configOperation: IncrementalAlterConfigOperationTypes.SET, value: String(maxBatchBytes) }]
  await admin(brokers).incrementalAlterConfigs({
    resources: [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic, configs }],
  })
  await until('the topic has the new limit', async () => (await limitOf(brokers, topic)) === maxBatchBytes)
}

async function limitOf(brokers: readonly string[], topic: string): Promise<number | null> {
  const resources = [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic, configurationKeys: [setting] }]
  const found = await admin(brokers)
    .describeConfigs({ resources })
    .catch(() => [])
  return found.length === 0 ? null : Number(found[0]!.configs[0]?.value)
}
