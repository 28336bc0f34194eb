import type { Broker, LogRecord } from '../message/port.ts'
import { type GroupPlace, groupPlaces } from './group-places.ts'
import type { OpenService } from './open-service.ts'

/** How far a group is behind in one partition. Computed from its stored position, so a group whose consumers are stopped falls behind, too. */
export interface PartitionLag {
  readonly group: string
  readonly topic: string
  readonly partition: number
  /** Next offset to handle, and the one after the last in the log. */
  readonly position: number
  readonly end: number
  /** Messages that wait; 0 where the group is caught up, however long ago the last message came. Beyond the sample offsets are counted, holes included. */
  readonly messages: number
  /** Age of the oldest message that waits, seconds; 0 where none does. */
  readonly seconds: number
  /** Keys with the most messages in the sample, the heaviest first. Messages without a key are left out. */
  readonly heaviestKeys: readonly { readonly key: string; readonly messages: number }[]
}

export interface LagOptions {
  /** How many of the heaviest keys to name. @default 5 */
  readonly keys?: number
  /** How many waiting messages of each partition are read to find them. @default 10,000 */
  readonly sample?: number
}

/** What was read of one partition's backlog. */
interface Sample {
  readonly records: LogRecord[]
  next: number
  complete: boolean
}

/** A fetch that brings nothing within this time ends the look. */
const patienceMs = 2_000
const fetchBytes = 4 * 1024 * 1024

/** Looks at every partition of a group's topics. Partitions without a position count from the beginning of what the log holds. */
export async function partitionLags(
  { database, broker }: Pick<OpenService, 'database' | 'broker'>,
  group: string,
  topics: readonly string[],
  { keys = 5, sample = 10_000 }: LagOptions,
  now: number,
): Promise<readonly PartitionLag[]> {
  // Positions before ends, so that a lag of 0 was true at some moment in between.
  const positions = await database.consumer.positions(group)
  const places = (await Promise.all(topics.map((topic) => groupPlaces(broker, topic, positions)))).flat()
  const samples = await readSamples(broker, places, sample)
  return places.map(({ topic, partition, offset, end }, i) => {
    const { records, complete } = samples[i]!
    const messages = complete ? records.length : Math.max(records.length, end - offset)
    const seconds = records.length === 0 ? 0 : Math.max(0, (now - records[0]!.timestamp) / 1_000)
    return { group, topic, partition, position: offset, end, messages, seconds, heaviestKeys: heaviest(records, keys) }
  })
}

async function readSamples(broker: Broker, places: readonly GroupPlace[], limit: number): Promise<readonly Sample[]> {
  const samples = places.map(({ offset, end }): Sample => ({ records: [], next: offset, complete: offset >= end }))
  const reader = broker.reader()
  try {
    for (;;) {
      const open = places.flatMap((place, i) =>
        samples[i]!.complete || samples[i]!.records.length >= limit ? [] : [{ place, of: samples[i]! }],
      )
      if (open.length === 0) return samples
      const from = open.map(({ place: { topic, partition }, of }) => ({ topic, partition, offset: of.next }))
      const found = await reader.fetch(from, { maxBytes: fetchBytes, maxWaitMs: patienceMs })
      if (found.length === 0) return samples
      for (const { topic, partition, records, nextOffset, outOfRange } of found) {
        const { place, of } = open.find(({ place: one }) => one.topic === topic && one.partition === partition)!
        for (const record of records) if (record.offset < place.end && of.records.length < limit) of.records.push(record)
        of.next = outOfRange === undefined ? nextOffset : Math.max(nextOffset, outOfRange.startOffset)
        of.complete = of.next >= place.end && of.records.length < limit
      }
    }
  } finally {
    await reader.close()
  }
}

function heaviest(records: readonly LogRecord[], count: number): { key: string; messages: number }[] {
  const counts = new Map<string, number>()
  for (const { key } of records) {
    if (key === null) continue
    const name = key.toString()
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  const sorted = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
  return sorted.slice(0, count).map(([key, messages]) => ({ key, messages }))
}
