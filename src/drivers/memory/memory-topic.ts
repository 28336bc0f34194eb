import { recordBytes } from '../../message/page.ts'
import type { Fetched, FetchPosition, LogRecord, OutgoingRecord, Topic } from '../../message/port.ts'

interface MemoryPartition {
  startOffset: number
  lastMs: number
  readonly records: LogRecord[]
}

/** How long records of a topic are kept. */
export interface Retention {
  readonly retentionMs: number
  readonly retentionBytes: number
}

/** A topic in memory. Record `i` of a partition has offset `startOffset + i`. */
export class MemoryTopic implements Topic {
  readonly name: string
  readonly id: string
  readonly retention: Retention
  readonly #partitions: readonly MemoryPartition[]

  constructor(name: string, id: string, partitions: number, retention: Retention) {
    this.name = name
    this.id = id
    this.retention = retention
    this.#partitions = Array.from({ length: partitions }, () => ({ startOffset: 0, lastMs: 0, records: [] }))
  }

  get partitions(): number {
    return this.#partitions.length
  }

  append(record: OutgoingRecord, nowMs: number): void {
    const { topic, partition, key, value, headers } = record
    const log = this.#partitions[partition]!
    log.lastMs = Math.max(log.lastMs, nowMs)
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
  }

  /** What there is at a position; `null` when it is the end. `room` is what may be added, in bytes; `force` takes one record in any case. */
  read({ partition, offset }: FetchPosition, room: number, force: boolean): Fetched | null {
    const { startOffset, records } = this.#partitions[partition]!
    const endOffset = startOffset + records.length
    const place = { topic: this.name, partition, endOffset }
    if (offset === endOffset) return null
    if (offset < startOffset || offset > endOffset) return { ...place, records: [], nextOffset: offset, outOfRange: { startOffset } }
    const found: LogRecord[] = []
    for (let i = offset - startOffset; i < records.length; i++) {
      room -= recordBytes(records[i]!)
      if (room < 0 && !(force && found.length === 0)) break
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

  /** Removes what is past its retention, from the front. */
  trim(nowMs: number): number {
    let removed = 0
    for (const partition of this.#partitions) {
      let bytes = partition.records.reduce((sum, record) => sum + recordBytes(record), 0)
      const keep = partition.records.findIndex((record) => {
        if (record.timestamp >= nowMs - this.retention.retentionMs && bytes <= this.retention.retentionBytes) return true
        bytes -= recordBytes(record)
        return false
      })
      const gone = keep === -1 ? partition.records.length : keep
      partition.records.splice(0, gone)
      partition.startOffset += gone
      removed += gone
    }
    return removed
  }
}

function copy<T extends Buffer | null>(bytes: T): Buffer | null {
  return bytes === null ? null : Buffer.from(bytes)
}
