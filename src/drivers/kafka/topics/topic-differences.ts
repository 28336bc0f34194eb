import type { TopicSpec } from '../../../message/port.ts'
import type { ClusterTopic } from '../wire/cluster.ts'

/** In what an existing topic is not as expected, in words; empty where it is. */
export function topicDifferences(spec: TopicSpec, topic: ClusterTopic, config: ReadonlyMap<string, string>): readonly string[] {
  const differences: string[] = []
  const partitions = topic.partitions.length
  if (spec.partitions !== undefined && spec.partitions !== partitions)
    differences.push(`${partitions} partitions, expected ${spec.partitions}`)
  const retention = config.get('retention.ms')
  const keptMs = retention === undefined ? undefined : retention === '-1' ? Infinity : Number(retention)
  if (spec.retentionMs !== undefined && keptMs !== undefined && keptMs < spec.retentionMs) {
    differences.push(`retention.ms ${retention}, expected at least ${spec.retentionMs}`)
  }
  const policy = config.get('cleanup.policy')
  const compacts = policy?.includes('compact') ?? false
  if (policy !== undefined && spec.compact !== undefined && spec.compact !== compacts) {
    differences.push(`cleanup.policy ${policy}, expected ${spec.compact ? 'compact' : 'delete'}`)
  }
  return differences
}
