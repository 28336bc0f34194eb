import { TidemarkError } from '../../../errors.ts'
import { type Coordinate, formatCoordinate, parseCoordinate } from '../../../message/coordinate.ts'
import { sourceLife } from '../../../message/page.ts'
import type { FetchPosition, LogReader, LogRecord, StreamClaim } from '../../../message/port.ts'
import { coordinateHeader } from '../../../message/wire.ts'

/** What the log holds of a stream's last pages. */
export interface StreamTail {
  /** The highest coordinate, of any life of the source; `null` where nothing was found. */
  readonly last: Coordinate | null
  /** Those of the claim's own life and last two ticks, in wire form: what an interrupted page may be part of. */
  readonly sent: ReadonlySet<string>
}

/** How far back a partition is read, in offsets, one after the other until it has shown enough. */
const reaches = [1_000, 10_000, 50_000]

/**
 * Reads the ends of the topics' partitions for messages of a stream. Kafka keeps no note of who sent what, but every message carries its coordinate. Other
 * producers' messages stand between them. So each partition is read further back until it shows a message of the stream from before its last two
 * ticks, or its beginning, or 50,000 offsets: what stands before that would not be recognised here, but by the readers.
 */
export async function readStreamTail(
  reader: Pick<LogReader, 'fetch'>,
  claim: StreamClaim,
  bounds: (topic: string) => Promise<readonly { readonly start: number; readonly end: number }[]>,
): Promise<StreamTail> {
  const findings = new Findings(claim)
  let open = await placesOf(claim.topics, bounds)
  for (const reach of reaches) {
    const read = open.map((place): Stretch => ({ ...place, from: Math.max(place.start, place.end - reach), to: place.readFrom }))
    await readStretches(reader, read, findings)
    open = read
      .filter(({ key, start, from }) => from > start && !findings.goesBackFar(key))
      .map((place) => ({ ...place, readFrom: place.from }))
  }
  return findings.tail()
}

interface Place {
  readonly key: string
  readonly topic: string
  readonly partition: number
  readonly start: number
  readonly end: number
  /** From here on it has been read. */
  readonly readFrom: number
}

/** What is read of a place in one go: offsets `from` to before `to`. */
interface Stretch extends Place {
  readonly from: number
  readonly to: number
}

/** The stream's messages as they are found. Only those of the last two ticks are kept, however many there are before them. */
class Findings {
  readonly #claim: StreamClaim
  #last: Coordinate | null = null
  #recent: Coordinate[] = []
  /** The earliest one of each partition. */
  readonly #earliest = new Map<string, Coordinate>()
  #pruneAt = 10_000

  constructor(claim: StreamClaim) {
    this.#claim = claim
  }

  note(key: string, coordinate: Coordinate): void {
    if (!isOf(coordinate, this.#claim)) return
    if (this.#last === null || isAbove(coordinate, this.#last)) this.#last = coordinate
    const earliest = this.#earliest.get(key)
    if (earliest === undefined || isAbove(earliest, coordinate)) this.#earliest.set(key, coordinate)
    if (!this.#isRecent(coordinate)) return
    this.#recent.push(coordinate)
    if (this.#recent.length >= this.#pruneAt) this.#prune()
  }

  /** Has this partition shown a message from before the last two ticks? */
  goesBackFar(key: string): boolean {
    const earliest = this.#earliest.get(key)
    return earliest !== undefined && !this.#isRecent(earliest)
  }

  tail(): StreamTail {
    this.#prune()
    const own = this.#recent.filter(({ sourceEpoch }) => sourceEpoch === this.#claim.sourceEpoch)
    return { last: this.#last, sent: new Set(own.map(formatCoordinate)) }
  }

  #isRecent({ sourceEpoch, generation, tick }: Coordinate): boolean {
    const last = this.#last!
    return sourceEpoch === last.sourceEpoch && generation === last.generation && tick >= last.tick - 1
  }

  #prune(): void {
    this.#recent = this.#recent.filter((one) => this.#isRecent(one))
    this.#pruneAt = Math.max(10_000, 2 * this.#recent.length)
  }
}

async function placesOf(
  topics: readonly string[],
  bounds: (topic: string) => Promise<readonly { readonly start: number; readonly end: number }[]>,
): Promise<Place[]> {
  const all = await Promise.all(
    topics.map(async (topic) =>
      (await bounds(topic)).map(({ start, end }, partition): Place => ({
        key: `${topic}/${partition}`,
        topic,
        partition,
        start,
        end,
        readFrom: end,
      })),
    ),
  )
  return all.flat().filter(({ start, end }) => end > start)
}

async function readStretches(reader: Pick<LogReader, 'fetch'>, stretches: readonly Stretch[], findings: Findings): Promise<void> {
  const places = new Map(stretches.map((stretch) => [stretch.key, stretch]))
  const positions = new Map<string, FetchPosition>(
    stretches.map(({ key, topic, partition, from }) => [key, { topic, partition, offset: from }]),
  )
  while (positions.size > 0) {
    const fetched = await reader.fetch([...positions.values()], { maxBytes: 4 * 1024 * 1024, maxWaitMs: 10_000 })
    if (fetched.length === 0)
      throw new TidemarkError('BROKER_UNREACHABLE', `The end of ${[...positions.keys()].join(', ')} could not be read.`)
    for (const { topic, partition, records, outOfRange, ...rest } of fetched) {
      const key = `${topic}/${partition}`
      const { to } = places.get(key)!
      for (const record of records) {
        const coordinate = record.offset < to ? coordinateOf(record) : null
        if (coordinate !== null) findings.note(key, coordinate)
      }
      // Retention went on meanwhile.
      const nextOffset = outOfRange === undefined ? rest.nextOffset : Math.max(outOfRange.startOffset, rest.nextOffset)
      if (nextOffset >= to) positions.delete(key)
      else positions.set(key, { topic, partition, offset: nextOffset })
    }
  }
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
