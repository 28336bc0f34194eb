import { TidemarkError } from '../../../errors.ts'
import { attribute, field, headSize, magic, uncounted } from './batch-format.ts'
import { checksumOf } from './checksum.ts'
import { type Compression, compress, compressionCode } from './compression.ts'
import { type RecordContent, batchOverhead, recordSizeAtMost } from './record-size.ts'
import { RecordWriter } from './record-writer.ts'

export interface EncodeOptions {
  /** `-1n` without idempotence; the epoch and the sequence are -1 then, too. */
  readonly producerId: bigint
  readonly producerEpoch: number
  /** Of the first record; the others count on from it. */
  readonly baseSequence: number
  readonly transactional: boolean
  /** Of every record: whole milliseconds since 1970. */
  readonly timestamp: number
  readonly compression: Compression
}

/**
 * One batch of records, ready to be produced, in a buffer of its own. A batch that would not become smaller is sent uncompressed, whatever
 * `compression` says, so that it is never larger than `cutBatches` counted.
 *
 * @throws TidemarkError `INPUT_INVALID` without records, which no broker takes; `CONFIG_INVALID` where this Node lacks the compression.
 */
export function encodeBatch(records: readonly RecordContent[], options: EncodeOptions): Buffer {
  if (records.length === 0) throw new TidemarkError('INPUT_INVALID', 'A batch needs at least one record; none was given.')
  const writer = new RecordWriter(headSize, expectedSize(records))
  for (let index = 0; index < records.length; index++) writer.write(records[index]!, index)
  const plain = writer.bytes
  if (options.compression === 'none') return withHead(plain, 'none', records.length, options)
  const compressed = compress(options.compression, plain.subarray(headSize))
  if (compressed.length >= plain.length - headSize) return withHead(plain, 'none', records.length, options)
  const batch = Buffer.allocUnsafe(headSize + compressed.length)
  batch.set(compressed, headSize)
  return withHead(batch, options.compression, records.length, options)
}

function withHead(batch: Buffer, compression: Compression, count: number, options: EncodeOptions): Buffer {
  const timestamp = BigInt(options.timestamp)
  batch.writeBigInt64BE(0n, field.baseOffset)
  batch.writeInt32BE(batch.length - uncounted, field.length)
  batch.writeInt32BE(-1, field.leaderEpoch)
  batch.writeInt8(magic, field.magic)
  batch.writeInt16BE(compressionCode(compression) | (options.transactional ? attribute.transactional : 0), field.attributes)
  batch.writeInt32BE(count - 1, field.lastOffsetDelta)
  batch.writeBigInt64BE(timestamp, field.baseTimestamp)
  batch.writeBigInt64BE(timestamp, field.maxTimestamp)
  batch.writeBigInt64BE(options.producerId, field.producerId)
  batch.writeInt16BE(options.producerEpoch, field.producerEpoch)
  batch.writeInt32BE(options.baseSequence, field.baseSequence)
  batch.writeInt32BE(count, field.count)
  batch.writeUInt32BE(checksumOf(batch.subarray(field.attributes)), field.checksum)
  return batch
}

/** Headers are much the same from record to record; what differs are keys and values. A wrong guess costs one copy. */
function expectedSize(records: readonly RecordContent[]): number {
  const [first] = records
  let size = batchOverhead
  for (const { key, value } of records) size += (key?.length ?? 0) + (value?.length ?? 0)
  return size + records.length * recordSizeAtMost({ key: null, value: null, headers: first!.headers })
}
