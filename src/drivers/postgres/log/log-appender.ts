import { appendUnderWay, brokerClosed, noSuchPartition, streamFenced } from '../../../message/broker-error.ts'
import { type Coordinate, formatCoordinate, parseCoordinate } from '../../../message/coordinate.ts'
import { checkPage, lastCoordinate, recordBytes, sourceLife, withoutRepeats } from '../../../message/page.ts'
import type { Appender, Refusal, SequencedRecord, StreamClaim } from '../../../message/port.ts'
import type { TopicRow } from '../queries/log.ts'
import { type Appended, type NewBatch, type StreamOwner, appendBatches, claimStream } from '../queries/log-append.ts'
import { BatchWriter } from './batch-writer.ts'
import type { HeadWatch } from './head-watch.ts'
import type { LogStore } from './log-store.ts'
import type { TopicDirectory } from './topic-directory.ts'

/** A batch is closed past this many bytes: a fetch gives whole batches, so this is how far it may exceed its bound. */
const batchBytes = 256 * 1024
/** A page is cut into transactions of about this size, so that neither side holds much more in memory. */
const transactionBytes = 16 * 1024 * 1024

export interface LogAppenderParts {
  readonly store: LogStore
  readonly directory: TopicDirectory
  readonly watch: HeadWatch
  readonly claim: StreamClaim
  readonly maxRecordBytes: number
}

/** Sends one stream's pages into the log, one transaction and one round trip each. */
export class LogAppender implements Appender {
  readonly #parts: LogAppenderParts
  readonly #owner: StreamOwner
  #last: Coordinate | null
  #busy = false
  #closed = false

  private constructor(parts: LogAppenderParts, owner: StreamOwner, last: Coordinate | null) {
    this.#parts = parts
    this.#owner = owner
    this.#last = last
  }

  /** Takes the stream over. Rejects with `BROKER_FENCED`. */
  static async open(parts: LogAppenderParts): Promise<LogAppender> {
    const { sourceEpoch, stream, epoch } = parts.claim
    const owner = { ...sourceLife(sourceEpoch), stream, epoch }
    const { outcome, last } = await parts.store.use((session, schema) => claimStream(session, schema, owner))
    if (outcome === 'fenced') throw streamFenced(parts.claim, last)
    return new LogAppender(parts, owner, last === null ? null : parseCoordinate(last))
  }

  get last(): Coordinate | null {
    return this.#last
  }

  async append(page: readonly SequencedRecord[]): Promise<readonly Refusal[]> {
    if (this.#closed) throw brokerClosed('appender')
    if (this.#busy) throw appendUnderWay()
    this.#busy = true
    try {
      const { records, refusals } = checkPage(page, this.#parts.claim, this.#parts.maxRecordBytes)
      for (const part of partsOf(records)) await this.#appendPart(part)
      return refusals
    } finally {
      this.#busy = false
    }
  }

  async close(): Promise<void> {
    this.#closed = true
  }

  /** Tries again where the answer says why not: the log holds more than we know (a lost reply), or a topic was made anew. */
  async #appendPart(part: readonly SequencedRecord[]): Promise<void> {
    for (let forgotten = false; ;) {
      const records = withoutRepeats(part, this.#last)
      if (records.length === 0) return
      const { answer, batches, topics } = await this.#send(records)
      if (answer.outcome === 'appended') {
        this.#last = lastCoordinate(records) ?? this.#last
        this.#parts.watch.tell(batches.map(({ topic, partition }, i) => ({ key: topic, partition, offset: answer.ends[i]! })))
        return
      }
      if (answer.outcome === 'missing') {
        const { topic, partition } = batches[answer.batch]!
        const found = topics.find(({ key }) => key === topic)!
        if (forgotten) throw noSuchPartition(found, partition)
        this.#parts.directory.forget(found.name)
        forgotten = true
      } else {
        if (answer.outcome === 'fenced') throw streamFenced(this.#parts.claim, answer.last)
        this.#last = answer.last === null ? null : parseCoordinate(answer.last)
      }
    }
  }

  async #send(records: readonly SequencedRecord[]): Promise<{ answer: Appended; batches: NewBatch[]; topics: TopicRow[] }> {
    const { store, directory } = this.#parts
    const directoryNow = await directory.find(records.map(({ topic }) => topic))
    const topics = [...new Set(records.map(({ topic }) => topic))].map((name) => directoryNow.get(name)!)
    const { batches, bodies } = encode(records, directoryNow)
    const last = lastCoordinate(records)
    const coordinates = {
      known: this.#last === null ? null : formatCoordinate(this.#last),
      last: last === null ? null : formatCoordinate(last),
    }
    const answer = await store.use((session, schema) => appendBatches(session, schema, this.#owner, coordinates, batches, bodies))
    return { answer, batches, topics }
  }
}

/** Sorted by topic and partition, the order in which the heads are locked. */
function encode(records: readonly SequencedRecord[], topics: ReadonlyMap<string, TopicRow>): { batches: NewBatch[]; bodies: Buffer } {
  const places = new Map<string, { topic: number; partition: number; records: SequencedRecord[] }>()
  let bytes = 0
  for (const record of records) {
    const place = `${record.topic}/${record.partition}`
    const found = places.get(place)
    if (found === undefined) places.set(place, { topic: topics.get(record.topic)!.key, partition: record.partition, records: [record] })
    else found.records.push(record)
    bytes += recordBytes(record)
  }
  const writer = new BatchWriter(bytes + records.length * 32)
  const batches: NewBatch[] = []
  for (const place of [...places.values()].sort((a, b) => a.topic - b.topic || a.partition - b.partition)) {
    for (const batch of cut(place.records, batchBytes)) {
      batches.push({ topic: place.topic, partition: place.partition, records: batch.length, bytes: writer.write(batch) })
    }
  }
  return { batches, bodies: writer.bytes() }
}

function partsOf(records: readonly SequencedRecord[]): SequencedRecord[][] {
  return cut(records, transactionBytes)
}

/** Consecutive groups of at most so many bytes; a larger record goes alone. */
function cut(records: readonly SequencedRecord[], limit: number): SequencedRecord[][] {
  const groups: SequencedRecord[][] = []
  let group: SequencedRecord[] = []
  let bytes = 0
  for (const record of records) {
    const size = recordBytes(record)
    if (group.length > 0 && bytes + size > limit) {
      groups.push(group)
      group = []
      bytes = 0
    }
    group.push(record)
    bytes += size
  }
  if (group.length > 0) groups.push(group)
  return groups
}
