import type { ServiceDatabase } from '../drivers/port.ts'
import type { Broker } from '../message/port.ts'
import { groupPlaces } from './group-places.ts'

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
      const places = await groupPlaces(broker, topic, positions)
      const end = sum(places.map((place) => place.end))
      const handled = sum(places.map(({ offset }) => offset))
      return { group, topic, end, handled, lag: sum(places.map((place) => Math.max(0, place.end - place.offset))) }
    }),
  )
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
