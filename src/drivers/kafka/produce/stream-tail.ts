import { TidemarkError } from '../../../errors.ts'
import { type Coordinate, formatCoordinate, parseCoordinate } from '../../../message/coordinate.ts'
import { sourceLife } from '../../../message/page.ts'
import type { FetchPosition, LogRecord, StreamClaim } from '../../../message/port.ts'
import { coordinateHeader } from '../../../message/wire.ts'
import type { LogReader } from '../read/log-reader.ts'

/** What the log holds of a stream's last pages. */
export interface StreamTail {
  /** The highest coordinate, of any life of the source; `null` where nothing was found. */
  readonly last: Coordinate | null
  /** Those of the claim's own life and last two ticks, in wire form: what an interrupted page may be part of. */
  readonly sent: ReadonlySet<string>
}

/** How far back each partition is read, in offsets: the second only where the first shows that more is needed. */
const reaches = [1_000, 50_000]

/**
 * Reads the ends of the topics' partitions for messages of a stream. Kafka keeps no note of who sent what, but every message carries its coordinate. Other
 * producers' messages stand between them: where nothing of the stream is found, or the last two ticks go back further than the first reach,
 * the second one is tried. Beyond that a repeat would not be recognised here, but by the readers.
 */
export async function readStreamTail(
  reader: LogReader,
  claim: StreamClaim,
  bounds: (topic: string) => Promise<readonly { readonly start: number; readonly end: number }[]>,
): Promise<StreamTail> {
  const places = await placesOf(claim.topics, bounds)
  let found: Coordinate[] = []
  for (const reach of reaches) {
    const from = places.map(({ position, start, end }) => ({ ...position, offset: Math.max(start, end - reach) }))
    found = await readFrom(reader, from, places, claim)
    if (found.length > 0 && !reachesFurther(found)) break
  }
  const last = found.reduce<Coordinate | null>((highest, one) => (highest === null || isAbove(one, highest) ? one : highest), null)
  const recent = found.filter((one) => last !== null && one.sourceEpoch === claim.sourceEpoch && one.tick >= last.tick - 1)
  return { last, sent: new Set(recent.map(formatCoordinate)) }
}

interface Place {
  readonly position: FetchPosition
  readonly start: number
  readonly end: number
}

async function placesOf(
  topics: readonly string[],
  bounds: (topic: string) => Promise<readonly { readonly start: number; readonly end: number }[]>,
): Promise<Place[]> {
  const all = await Promise.all(
    topics.map(async (topic) => (await bounds(topic)).map((bound, partition) => ({ position: { topic, partition, offset: 0 }, ...bound }))),
  )
  return all.flat().filter(({ start, end }) => end > start)
}

async function readFrom(
  reader: LogReader,
  from: readonly FetchPosition[],
  places: readonly Place[],
  claim: StreamClaim,
): Promise<Coordinate[]> {
  const ends = new Map(places.map(({ position, end }) => [keyOf(position), end]))
  const positions = new Map(from.map((position) => [keyOf(position), position]))
  const found: Coordinate[] = []
  while (positions.size > 0) {
    const fetched = await reader.fetch([...positions.values()], { maxBytes: 4 * 1024 * 1024, maxWaitMs: 10_000 })
    if (fetched.length === 0)
      throw new TidemarkError('BROKER_UNREACHABLE', `The end of ${[...positions.keys()].join(', ')} could not be read.`)
    for (const { topic, partition, records, outOfRange, ...rest } of fetched) {
      // Retention went on meanwhile.
      const nextOffset = outOfRange === undefined ? rest.nextOffset : Math.max(outOfRange.startOffset, rest.nextOffset)
      for (const record of records) {
        const coordinate = coordinateOf(record)
        if (coordinate !== null && isOf(coordinate, claim)) found.push(coordinate)
      }
      const key = keyOf({ topic, partition })
      if (nextOffset >= ends.get(key)!) positions.delete(key)
      else positions.set(key, { topic, partition, offset: nextOffset })
    }
  }
  return found
}

/** Everything found is of the last two ticks: there may be more of them further back. */
function reachesFurther(found: readonly Coordinate[]): boolean {
  const ticks = found.map(({ tick }) => tick)
  const last = ticks.reduce((a, b) => Math.max(a, b))
  return ticks.every((tick) => tick >= last - 1) && last > 2
}

function isOf(coordinate: Coordinate, claim: StreamClaim): boolean {
  return coordinate.stream === claim.stream && sourceLife(coordinate.sourceEpoch).source === sourceLife(claim.sourceEpoch).source
}

/** Was `a` sent after `b`? Across lives and generations of one source's stream. */
export function isAbove(a: Coordinate, b: Coordinate): boolean {
  const lives = sourceLife(a.sourceEpoch).life - sourceLife(b.sourceEpoch).life
  return (lives || a.generation - b.generation || a.tick - b.tick || a.seq - b.seq) > 0
}

function coordinateOf({ headers }: LogRecord): Coordinate | null {
  for (const [name, value] of headers) if (name === coordinateHeader) return value === null ? null : parseCoordinate(value.toString())
  return null
}

function keyOf({ topic, partition }: { readonly topic: string; readonly partition: number }): string {
  return `${topic}/${partition}`
}
