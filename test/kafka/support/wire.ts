import { type KafkaBrokerOptions, kafka } from '../../../src/drivers/kafka/index.ts'
import { type Coordinate, compareCoordinates, parseCoordinate } from '../../../src/message/coordinate.ts'
import { coordinateHeader } from '../../../src/message/wire.ts'
import type { Change } from './load.ts'

/** A record on the wire. */
export interface OnWire extends Change {
  readonly partition: number
  readonly offset: number
  readonly coordinate: string
}

/** What whoever knows nothing of coordinates sees. Everything must be 0 but the first. */
export interface WireOutcome {
  readonly changes: number
  readonly repeated: number
  /** Records that do not follow the one of the number before, within their key. */
  readonly misplaced: number
}

/** Everything that readers of committed records find in a topic, in order within each partition. */
export async function readWire(options: KafkaBrokerOptions, topic: string): Promise<OnWire[]> {
  const broker = kafka(options)
  try {
    const [starts, ends] = await Promise.all([broker.offsets(topic, 'earliest'), broker.offsets(topic, 'latest')])
    const positions = new Map(starts.map((offset, partition) => [partition, { topic, partition, offset }]))
    const reader = broker.reader()
    const found: OnWire[] = []
    for (;;) {
      for (const { partition, offset } of positions.values()) if (offset >= ends[partition]!) positions.delete(partition)
      if (positions.size === 0) break
      for (const { partition, records, nextOffset } of await reader.fetch([...positions.values()], {
        maxBytes: 4_000_000,
        maxWaitMs: 2_000,
      })) {
        positions.set(partition, { topic, partition, offset: nextOffset })
        for (const { offset, value, headers } of records) {
          const coordinate = String(headers.find(([name]) => name === coordinateHeader)?.[1])
          found.push({ ...(JSON.parse(value!.toString()) as Change), partition, offset, coordinate })
        }
      }
    }
    return found
  } finally {
    await broker.close()
  }
}

/** Counts what is wrong with it. */
export function wireOutcome(records: readonly OnWire[]): WireOutcome {
  const last = new Map<string, number>()
  const seen = new Set<string>()
  let misplaced = 0
  for (const { key, n } of records) {
    if (n !== (last.get(key) ?? 0) + 1) misplaced += 1
    last.set(key, n)
    seen.add(`${key}/${n}`)
  }
  return { changes: seen.size, repeated: records.length - seen.size, misplaced }
}

/** What it should be. */
export function cleanWire(changes: number): WireOutcome {
  return { changes, repeated: 0, misplaced: 0 }
}

/** What a reader with a high-water for each stream sees. */
export function withoutRepeats(records: readonly OnWire[]): OnWire[] {
  const high = new Map<string, Coordinate>()
  return records.filter(({ partition, coordinate }) => {
    const at = parseCoordinate(coordinate)!
    const lane = `${partition} ${at.sourceEpoch}/${at.generation}/${at.stream}`
    const last = high.get(lane)
    if (last !== undefined && compareCoordinates(at, last) <= 0) return false
    high.set(lane, at)
    return true
  })
}
