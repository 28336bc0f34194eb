import type { ServiceDatabase } from '../drivers/port.ts'
import type { Broker } from '../message/port.ts'

/** How far a group is behind in a topic, in messages, over all partitions. */
export interface GroupLag {
  readonly group: string
  readonly topic: string
  /** Sum of the partitions' ends. */
  readonly end: number
  /** Sum of the group's positions. */
  readonly handled: number
  readonly lag: number
}

/** Positions are read before the ends, so that a lag of 0 was true at some moment in between. */
export async function groupLag(
  { database, broker }: { readonly database: ServiceDatabase; readonly broker: Broker },
  group: string,
  topics: readonly string[],
): Promise<readonly GroupLag[]> {
  const positions = await database.consumer.positions(group)
  return Promise.all(
    topics.map(async (topic) => {
      const [ends, starts] = [await broker.offsets(topic, 'latest'), await broker.offsets(topic, 'earliest')]
      let handled = 0
      let end = 0
      let lag = 0
      for (let partition = 0; partition < ends.length; partition++) {
        const stored = positions.find((position) => position.topic === topic && position.partition === partition)
        const at = stored?.nextOffset ?? starts[partition]!
        handled += at
        end += ends[partition]!
        lag += Math.max(0, ends[partition]! - at)
      }
      return { group, topic, end, handled, lag }
    }),
  )
}
