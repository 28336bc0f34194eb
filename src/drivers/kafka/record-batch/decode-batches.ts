import type { LeaderRun, LogRecord } from '../../../message/port.ts'
import { type AbortedTransaction, AbortedTransactions } from './aborted-transactions.ts'
import { verifyChecksum, withContent } from './batch-content.ts'
import { attribute } from './batch-format.ts'
import { type BatchHead, readBatchHead } from './batch-head.ts'
import { HeaderNames } from './header-names.ts'
import { readRecords } from './read-records.ts'

export interface DecodeOptions {
  readonly topic: string
  readonly partition: number
  /** Records below are left out: a reply begins with the whole batch that the asked offset is in. */
  readonly from: number
  /** As in the fetch reply. `null`, or none listed: every record is given, of whatever transaction. */
  readonly abortedTransactions: readonly AbortedTransaction[] | null
  /** @default true */
  readonly verifyCrc?: boolean
  /** Stop after so many records. @default Infinity */
  readonly maxRecords?: number
}

export interface DecodedBatches {
  readonly records: LogRecord[]
  /** Where to read on: behind the last record given, or behind the last whole batch, so past markers, aborted records and compacted ones. */
  readonly nextOffset: number
  /** Who appended what was read, batches without records for us included. */
  readonly leaders: readonly LeaderRun[]
  /** Memory that the records hold: their batches, decompressed. */
  readonly bytes: number
}

/**
 * Decodes the record batches of one partition in a fetch reply. The records hold copies: the reply can go.
 *
 * A batch that is cut off at the end is left for the next fetch; where that is the first one, nothing is given and `nextOffset` stays `from`. A broken
 * batch behind whole ones is left, too: these are given, and it throws once it is the first.
 *
 * @throws TidemarkError `BROKER_BATCH_CORRUPT` (retryable) for a batch that is not what its producer wrote: a wrong checksum, an impossible head.
 * `MESSAGE_UNDECODABLE` for one that no repeat mends: a compression that this Node lacks, the format of Kafka 0.10, offsets beyond 2^53, or records
 * that break the format under a right checksum. Both name topic, partition and offset.
 */
export function decodeBatches(reply: Buffer, options: DecodeOptions): DecodedBatches {
  const decoding = new Decoding(reply, options)
  let before = 0
  try {
    while (decoding.next()) before = decoding.records.length
  } catch (error) {
    if (decoding.nextOffset === options.from) throw error
    decoding.records.length = before
  }
  const { records, nextOffset, leaders, bytes } = decoding
  return { records, nextOffset, leaders, bytes }
}

class Decoding {
  readonly records: LogRecord[] = []
  readonly leaders: LeaderRun[] = []
  nextOffset: number
  bytes = 0
  readonly #reply: Buffer
  readonly #options: DecodeOptions
  readonly #verify: boolean
  readonly #limit: number
  readonly #aborted: AbortedTransactions | null
  readonly #names = new HeaderNames()
  #position = 0
  #lowest = 0

  constructor(reply: Buffer, options: DecodeOptions) {
    this.#reply = reply
    this.#options = options
    this.#verify = options.verifyCrc ?? true
    this.#limit = options.maxRecords ?? Infinity
    this.#aborted = options.abortedTransactions?.length ? new AbortedTransactions(options.abortedTransactions) : null
    this.nextOffset = options.from
  }

  /** Goes on by one batch. False when there is no further whole one, or enough was read. */
  next(): boolean {
    if (this.records.length >= this.#limit) return false
    const head = readBatchHead(this.#reply, this.#position, this.#lowest, this.#options)
    if (head === null) return false
    const batch = this.#reply.subarray(this.#position, head.end)
    if (this.#verify) verifyChecksum(batch, head)
    if (has(head, attribute.control)) this.#noteMarker(batch, head)
    else if (!this.#isSkipped(head)) this.#read(batch, head)
    this.#noteLeader(head)
    const stopped = this.records.length === this.#limit
    this.nextOffset = stopped ? this.records.at(-1)!.offset + 1 : Math.max(this.nextOffset, head.lastOffset + 1)
    this.#lowest = head.lastOffset + 1
    this.#position = head.end
    return true
  }

  #noteLeader({ leaderEpoch, baseOffset, lastOffset }: BatchHead): void {
    if (leaderEpoch < 0) return
    const last = this.leaders.at(-1)
    const isSame = last?.leaderEpoch === leaderEpoch
    if (isSame) this.leaders.pop()
    this.leaders.push({ leaderEpoch, from: isSame ? last.from : baseOffset, to: lastOffset + 1 })
  }

  #isSkipped(head: BatchHead): boolean {
    if (head.lastOffset < this.#options.from || head.count === 0) return true
    return this.#aborted !== null && has(head, attribute.transactional) && this.#aborted.covers(head.producerId, head.lastOffset)
  }

  /** A marker below `from` counts as well: without it the producer's next transaction would be taken for the aborted one. */
  #noteMarker(batch: Buffer, head: BatchHead): void {
    if (this.#aborted === null || head.count === 0) return
    const marker: LogRecord[] = []
    withContent(batch, head, this.#verify, (content) => readRecords(content, head, head.baseOffset, 1, this.#names, marker))
    const key = marker[0]?.key ?? null
    if (key !== null && key.length >= 4 && key.readInt16BE(2) === abortMarker) this.#aborted.end(head.producerId, head.lastOffset)
  }

  #read(batch: Buffer, head: BatchHead): void {
    this.bytes += withContent(batch, head, this.#verify, (content) => {
      readRecords(content, head, this.#options.from, this.#limit, this.#names, this.records)
      return content.length
    })
  }
}

/** The type of a control record, the second number of its key. 1 is a commit. */
const abortMarker = 0

function has(head: BatchHead, bit: number): boolean {
  return (head.attributes & bit) !== 0
}
