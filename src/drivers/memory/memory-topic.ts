import { TidemarkError } from '../../errors.ts'
import { recordBytes } from '../../message/page.ts'
import type { Fetched, LogRecord, OutgoingRecord, Topic } from '../../message/port.ts'

interface MemoryPartition {
  startOffset: number
  lastMs: number
  bytes: number
  readonly records: LogRecord[]
}

/** How long records of a topic are kept, and how many bytes of them in a partition. */
export interface Retention {
  readonly retentionMs: number
  readonly retentionBytes: number
}

/** How much one partition may add to a fetch: its share, and what all of them have left. */
export interface Room {
  readonly share: number
  readonly left: number
  /** Take one record in any case. */
  readonly atLeastOne: boolean
}

/** Retention is applied when something is appended, at most this often. */
const trimEveryMs = 1_000

/** A topic in memory. Record `i` of a partition has offset `startOffset + i`. */
export class MemoryTopic implements Topic {
  readonly name: string
  readonly id: string
  readonly #retention: Retention
  readonly #partitions: MemoryPartition[]
  #trimmedMs = -Infinity

  constructor(name: string, id: string, partitions: number, retention: Retention) {
    this.name = name
    this.id = id
    this.#retention = retention
    this.#partitions = Array.from({ length: partitions }, emptyPartition)
  }

  get partitions(): number {
    return this.#partitions.length
  }

  /** Adds empty partitions up to this number. Throws `TOPIC_MISMATCH` unless there are fewer. */
  grow(partitions: number): void {
    if (!Number.isSafeInteger(partitions) || partitions <= this.partitions) {
      throw new TidemarkError(
        'TOPIC_MISMATCH',
        `The topic "${this.name}" has ${this.partitions} partitions; expected more of them, got ${partitions}.`,
      )
    }
    while (this.partitions < partitions) this.#partitions.push(emptyPartition())
  }

  /** The offset after the last record. */
  end(partition: number): number {
    const { startOffset, records } = this.#partitions[partition]!
    return startOffset + records.length
  }

  append(record: OutgoingRecord, nowMs: number): void {
    const { topic, partition, key, value, headers } = record
    const log = this.#partitions[partition]!
    log.lastMs = Math.max(log.lastMs, nowMs)
    log.bytes += recordBytes(record)
    // Copied, as a wire would: the caller may use its buffers again.
    log.records.push({
      topic,
      partition,
      offset: log.startOffset + log.records.length,
      timestamp: log.lastMs,
      key: copy(key),
      value: copy(value),
      headers: headers.map(([name, content]) => [name, typeof content === 'string' ? content : copy(content)] as const),
    })
    if (nowMs - this.#trimmedMs >= trimEveryMs) this.trim(nowMs)
  }

  /** What there is at a position; `null` when it is the end, or nothing of it has room. */
  read(partition: number, offset: number, { share, left, atLeastOne }: Room): Fetched | null {
    const { startOffset, records } = this.#partitions[partition]!
    const endOffset = startOffset + records.length
    const place = { topic: this.name, partition, endOffset }
    if (offset < startOffset || offset > endOffset) return { ...place, records: [], nextOffset: offset, outOfRange: { startOffset } }
    const found: LogRecord[] = []
    let bytes = 0
    for (let i = offset - startOffset; i < records.length; i++) {
      bytes += recordBytes(records[i]!)
      const fits = bytes <= share || (found.length === 0 && (atLeastOne || bytes <= left))
      if (!fits) break
      found.push(records[i]!)
    }
    return found.length === 0 ? null : { ...place, records: found, nextOffset: offset + found.length }
  }

  offsets(at: 'earliest' | 'latest' | Date): number[] {
    return this.#partitions.map(({ startOffset, records }) => {
      if (at === 'earliest') return startOffset
      if (at === 'latest') return startOffset + records.length
      const first = records.findIndex(({ timestamp }) => timestamp >= at.getTime())
      return startOffset + (first === -1 ? records.length : first)
    })
  }

  get retentionMs(): number {
    return this.#retention.retentionMs
  }

  /** Removes what is past its retention, from the front. */
  trim(nowMs: number): void {
    this.#trimmedMs = nowMs
    const { retentionMs, retentionBytes } = this.#retention
    for (const partition of this.#partitions) {
      let gone = 0
      for (const record of partition.records) {
        if (record.timestamp >= nowMs - retentionMs && partition.bytes <= retentionBytes) break
        partition.bytes -= recordBytes(record)
        gone += 1
      }
      if (gone > 0) partition.records.splice(0, gone)
      partition.startOffset += gone
    }
  }
}

function emptyPartition(): MemoryPartition {
  return { startOffset: 0, lastMs: 0, bytes: 0, records: [] }
}

function copy(bytes: Buffer | null): Buffer | null {
  return bytes === null ? null : Buffer.from(bytes)
}
