import { type BatchPlace, damaged, unreadable } from './batch-error.ts'
import { field, headSize, magic, uncounted } from './batch-format.ts'

/** The head of a batch in a reply. */
export interface BatchHead {
  readonly place: BatchPlace
  /** Position behind the batch in the reply. */
  readonly end: number
  readonly baseOffset: number
  /** Of the last record the batch was written with; compaction may have taken that record. */
  readonly lastOffset: number
  readonly attributes: number
  /** Of the leader that appended it, -1 where it did not say. */
  readonly leaderEpoch: number
  readonly baseTimestamp: number
  readonly maxTimestamp: number
  /** -1 without idempotence. */
  readonly producerId: bigint
  /** Records that are in it. */
  readonly count: number
}

/**
 * The head of the batch at `position`, or `null` where the reply ends before the batch does. `lowest`: the offset that it must not be below.
 *
 * @throws TidemarkError `BROKER_BATCH_CORRUPT` where the head cannot be one; `MESSAGE_UNDECODABLE` for another format, or an offset beyond 2^53.
 */
export function readBatchHead(reply: Buffer, position: number, lowest: number, of: Omit<BatchPlace, 'offset'>): BatchHead | null {
  if (reply.length - position < field.magic + 1) return null
  const baseOffset = Number(reply.readBigInt64BE(position))
  const place = { topic: of.topic, partition: of.partition, offset: baseOffset }
  const length = reply.readInt32BE(position + field.length)
  const format = reply.readInt8(position + field.magic)
  if (format === 0 || format === 1) throw oldFormat(place, format)
  if (format !== magic) throw damaged(place, `its format is ${format}, and not ${magic}`)
  if (length < headSize - uncounted) throw damaged(place, `its length is ${length}, less than its head has`)
  const end = position + uncounted + length
  if (end > reply.length) return null
  const lastOffset = baseOffset + reply.readInt32BE(position + field.lastOffsetDelta)
  const count = reply.readInt32BE(position + field.count)
  checkOffsets(place, lastOffset, lowest)
  if (count < 0) throw damaged(place, `it has ${count} records`)
  return {
    place,
    end,
    baseOffset,
    lastOffset,
    attributes: reply.readInt16BE(position + field.attributes),
    leaderEpoch: reply.readInt32BE(position + field.leaderEpoch),
    baseTimestamp: Number(reply.readBigInt64BE(position + field.baseTimestamp)),
    maxTimestamp: Number(reply.readBigInt64BE(position + field.maxTimestamp)),
    producerId: reply.readBigInt64BE(position + field.producerId),
    count,
  }
}

function checkOffsets(place: BatchPlace, lastOffset: number, lowest: number): void {
  if (lastOffset >= Number.MAX_SAFE_INTEGER) {
    throw unreadable(place, 'its offsets are beyond 2^53, which numbers cannot hold', 'Consume from a topic made anew.')
  }
  if (place.offset < lowest || lastOffset < place.offset) {
    throw damaged(place, `its offsets are ${place.offset} to ${lastOffset}, where ${lowest} or higher was expected`)
  }
}

function oldFormat(place: BatchPlace, format: number): Error {
  return unreadable(
    place,
    `its format is ${format}, of Kafka 0.10 and older`,
    'Copy the topic, for example with MirrorMaker, which writes the present format; or let the old records pass retention, and begin behind them.',
  )
}
