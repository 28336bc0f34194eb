import type { Topic, TopicSpec } from './port.ts'

/** What is known of a topic's configuration; `undefined` where it is not. */
export interface TopicConfig {
  /** `Infinity`: for ever. */
  readonly retentionMs?: number | undefined
  readonly compacts?: boolean | undefined
}

/** In what an existing topic is not as expected, in words; `undefined` where nothing is known to differ. What the spec leaves open never differs. */
export function topicDifferences(
  spec: TopicSpec,
  { partitions }: Pick<Topic, 'partitions'>,
  config: TopicConfig = {},
): readonly string[] | undefined {
  const { retentionMs, compacts } = config
  const differences: string[] = []
  if (spec.partitions !== undefined && spec.partitions !== partitions)
    differences.push(`${partitions} partitions, expected ${spec.partitions}`)
  if (spec.retentionMs !== undefined && retentionMs !== undefined && retentionMs < spec.retentionMs)
    differences.push(`keeps records for ${retentionMs} ms, expected at least ${spec.retentionMs}`)
  if (spec.compact !== undefined && compacts !== undefined && spec.compact !== compacts)
    differences.push(compacts ? 'is compacted, expected to keep every record' : 'keeps every record, expected to be compacted')
  return differences.length === 0 ? undefined : differences
}

/** The topic with what differs, if anything does. */
export function compared(topic: Topic, spec: TopicSpec, config?: TopicConfig): Topic {
  const differs = topicDifferences(spec, topic, config)
  return differs === undefined ? topic : { ...topic, differs }
}
