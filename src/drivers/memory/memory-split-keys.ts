import { keylessPrefix, splitExamples } from '../../consumer/parked/parked-key.ts'
import type { SplitKey, SplitKeys } from '../../consumer/parked-port.ts'
import type { MemoryPartition } from './memory-consumer-tables.ts'

/** Keys that wait in more than one of these partitions of a group. */
export function splitKeysOf(partitions: readonly MemoryPartition[]): readonly SplitKeys[] {
  const topics = new Map(partitions.map(({ ref }) => [ref.topicId, ref.topic]))
  const found = [...topics].map(([topicId, topic]) => {
    const split = ofTopic(partitions.filter(({ ref }) => ref.topicId === topicId))
    const spread = [...new Set(split.flatMap((one) => one.partitions))].toSorted((a, b) => a - b)
    return { topic, topicId, keys: split.length, partitions: spread, examples: split.slice(0, splitExamples) }
  })
  return found.filter(({ keys }) => keys > 0).toSorted((a, b) => (a.topic < b.topic ? -1 : 1))
}

function ofTopic(partitions: readonly MemoryPartition[]): readonly SplitKey[] {
  const places = new Map<string, number[]>()
  for (const { ref, parked } of partitions.toSorted((a, b) => a.ref.partition - b.ref.partition)) {
    for (const [key, queue] of parked) if (queue.length > 0) places.set(key, [...(places.get(key) ?? []), ref.partition])
  }
  return [...places]
    .map(([key, at]) => ({ key: Buffer.from(key, 'base64'), partitions: at }))
    .filter(({ key, partitions: at }) => at.length > 1 && !key.toString().startsWith(keylessPrefix))
}
