import type { TopicConfig } from '../../../message/topic-differences.ts'
import { describeConfigsV4 } from '../client.ts'
import type { Cluster } from '../wire/cluster.ts'
import { protocolError } from '../wire/protocol-error.ts'

/** Kafka's number for a topic in requests about configurations. */
const topicResource = 2
/** Kafka's own default of `max.message.bytes`, for principals that may not read configurations. */
const usualMaxBatchBytes = 1_048_588

/** The largest batch each topic takes (`max.message.bytes`), read once. */
export class TopicLimits {
  readonly #cluster: Cluster
  readonly #maxBatchBytes = new Map<string, number>()

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /** Reads what is not known yet. */
  async learn(topics: Iterable<string>): Promise<void> {
    const missing = [...new Set(topics)].filter((topic) => !this.#maxBatchBytes.has(topic))
    if (missing.length === 0) return
    for (const [topic, config] of await readTopicConfigs(this.#cluster, missing)) {
      this.#maxBatchBytes.set(topic, Number(config.get('max.message.bytes') ?? usualMaxBatchBytes))
    }
  }

  of(topic: string): number {
    return this.#maxBatchBytes.get(topic) ?? usualMaxBatchBytes
  }

  /** The limit turned out to be another one. */
  forget(topic: string): void {
    this.#maxBatchBytes.delete(topic)
  }
}

/** What of a topic's configuration a service may have expectations of. */
export function topicConfig(config: ReadonlyMap<string, string>): TopicConfig {
  const retention = config.get('retention.ms')
  return {
    retentionMs: retention === undefined ? undefined : retention === '-1' ? Infinity : Number(retention),
    compacts: config.get('cleanup.policy')?.includes('compact'),
  }
}

/** A topic's configuration is a help; a principal that may not see it can send all the same. */
const unseen: ReadonlySet<string> = new Set(['BROKER_AUTHORIZATION', 'TOPIC_UNKNOWN'])

/** The configurations of topics, by name; empty for those that this principal may not see or that do not exist. */
export async function readTopicConfigs(
  cluster: Cluster,
  topics: readonly string[],
): Promise<ReadonlyMap<string, ReadonlyMap<string, string>>> {
  const resources = topics.map((resourceName) => ({ resourceType: topicResource, resourceName, configurationKeys: null }) as const)
  const { results } = await cluster.callAny(describeConfigsV4.api, [resources, false, false])
  const found = new Map<string, ReadonlyMap<string, string>>()
  for (const { resourceName, configs, errorCode } of results) {
    if (errorCode !== 0) {
      const error = protocolError(errorCode, `to show the configuration of the topic "${resourceName}"`)
      if (!unseen.has(error.code)) throw error
    }
    found.set(resourceName, new Map(configs.map(({ name, value }) => [name, value ?? ''])))
  }
  return found
}
