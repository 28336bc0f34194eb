import { TidemarkError } from '../../../errors.ts'
import { type Clock, pause } from '../../../internal/clock.ts'
import type { TopicSpec } from '../../../message/port.ts'
import { createTopicsV7 } from '../client.ts'
import type { Cluster, ClusterTopic } from '../wire/cluster.ts'
import { errorName, protocolError } from '../wire/protocol-error.ts'

export interface TopicDefaults {
  readonly partitions: number
  /** -1: the cluster's own. */
  readonly replicationFactor: number
  readonly retentionMs: number | undefined
  readonly timeoutMs: number
}

/**
 * Makes topics that are missing, and waits until every partition has a leader. Their timestamps are those of the log (`LogAppendTime`), so that times
 * never go back within a partition, whoever writes. One that somebody else makes at the same moment is fine.
 */
export async function createTopics(
  cluster: Cluster,
  clock: Clock,
  specs: readonly TopicSpec[],
  defaults: TopicDefaults,
): Promise<readonly ClusterTopic[]> {
  const until = clock.elapsed() + defaults.timeoutMs
  for (;;) {
    const trouble = await tryToCreate(cluster, specs, defaults)
    if (trouble === null) break
    if (clock.elapsed() >= until) throw trouble
    await pause(clock, 100)
  }
  const names = specs.map(({ name }) => name)
  for (;;) {
    const topics = await cluster.describe(names)
    const ready =
      topics.length === names.length &&
      topics.every(({ partitions }) => partitions.length > 0 && partitions.every(({ leader }) => leader !== null))
    if (ready) return topics
    if (clock.elapsed() >= until) throw new TidemarkError('BROKER_UNREACHABLE', `The new topics ${names.join(', ')} have no leaders yet.`)
    await pause(clock, 20)
  }
}

async function tryToCreate(cluster: Cluster, specs: readonly TopicSpec[], defaults: TopicDefaults): Promise<TidemarkError | null> {
  const requests = specs.map(({ name, partitions = defaults.partitions, retentionMs = defaults.retentionMs, compact = false }) => ({
    name,
    numPartitions: partitions,
    replicationFactor: defaults.replicationFactor,
    assignments: [],
    configs: [
      { name: 'message.timestamp.type', value: 'LogAppendTime' },
      ...(retentionMs === undefined
        ? []
        : [{ name: 'retention.ms', value: Number.isFinite(retentionMs) ? String(Math.round(retentionMs)) : '-1' }]),
      ...(compact ? [{ name: 'cleanup.policy', value: 'compact' }] : []),
    ],
  }))
  const { topics } = await cluster.call(await cluster.controller(), createTopicsV7.api, [requests, defaults.timeoutMs, false])
  for (const { name, errorCode, errorMessage } of topics) {
    const problem = errorName(errorCode)
    if (errorCode === 0 || problem === 'TOPIC_ALREADY_EXISTS') continue
    const error = protocolError(errorCode, `to make the topic "${name}"`, errorMessage)
    // A broker that comes back is known to the cluster, and given nothing until it has been let in.
    const isBack = problem === 'INVALID_REPLICATION_FACTOR' && errorMessage?.includes('currently fenced') === true
    if (!error.retryable && !isBack) throw error
    return error
  }
  return null
}
