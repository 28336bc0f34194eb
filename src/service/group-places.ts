import type { PartitionPosition } from '../consumer/port.ts'
import type { Broker, FetchPosition } from '../message/port.ts'

/** Where a group goes on in a partition, and where the partition's log ends. */
export interface GroupPlace extends FetchPosition {
  readonly end: number
}

/** In all partitions of a topic. Where there is no position yet, or the log forgot what it points to, it is where the log begins. */
export async function groupPlaces(broker: Broker, topic: string, positions: readonly PartitionPosition[]): Promise<GroupPlace[]> {
  const [ends, starts] = [await broker.offsets(topic, 'latest'), await broker.offsets(topic, 'earliest')]
  return ends.map((end, partition) => {
    const stored = positions.find((position) => position.topic === topic && position.partition === partition)
    return { topic, partition, offset: Math.max(stored?.nextOffset ?? 0, starts[partition]!), end }
  })
}
