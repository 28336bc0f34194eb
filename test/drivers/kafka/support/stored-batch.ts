import { createRecord, crc32c } from '@platformatic/kafka'
import type { Header, LogRecord } from '../../../../src/message/port.ts'

/** A record in a batch, at a place of its own choosing. */
export interface StoredRecord {
  /** From the batch's base offset. @default one more than the record before it */
  readonly offsetDelta?: number
  /** From the batch's base timestamp, in ms. @default 0 */
  readonly timestampDelta?: number
  readonly key?: Buffer | null
  readonly value?: Buffer | null
  readonly headers?: readonly Header[]
}

export interface StoredBatch {
  /** @default 0 */
  readonly baseOffset?: number | bigint
  /** @default that of the last record, 0 without records */
  readonly lastOffsetDelta?: number
  readonly records?: readonly StoredRecord[]
  /** @default 0 */
  readonly attributes?: number
  readonly baseTimestamp?: number
  readonly maxTimestamp?: number
  /** @default -1n */
  readonly producerId?: bigint
  /** What becomes of the records' bytes: compressed, or damaged. The checksum is made of the outcome. */
  readonly stored?: (records: Buffer) => Buffer
}

/** A batch as a broker's log holds it: compaction, markers and foreign producers make other ones than we do. Written with the client, not by us. */
export function storedBatch(batch: StoredBatch): Buffer {
  const { records = [], attributes = 0, baseTimestamp = 1_000, producerId = -1n, stored = (bytes) => bytes } = batch
  let last = -1
  const contents = records.map((record) => {
    last = record.offsetDelta ?? last + 1
    return recordBytes(record, last, baseTimestamp)
  })
  const content = stored(Buffer.concat(contents))
  const bytes = Buffer.alloc(61 + content.length)
  bytes.writeBigInt64BE(BigInt(batch.baseOffset ?? 0), 0)
  bytes.writeInt32BE(bytes.length - 12, 8)
  bytes.writeInt8(2, 16)
  bytes.writeInt16BE(attributes, 21)
  bytes.writeInt32BE(batch.lastOffsetDelta ?? Math.max(last, 0), 23)
  bytes.writeBigInt64BE(BigInt(baseTimestamp), 27)
  bytes.writeBigInt64BE(BigInt(batch.maxTimestamp ?? baseTimestamp), 35)
  bytes.writeBigInt64BE(producerId, 43)
  bytes.writeInt32BE(records.length, 57)
  content.copy(bytes, 61)
  return withChecksum(bytes)
}

/** The batch with the checksum of its bytes, after they were changed. */
export function withChecksum(batch: Buffer): Buffer {
  batch.writeUInt32BE(crc32c(batch.subarray(21)), 17)
  return batch
}

export const attributeBits = { logAppendTime: 8, transactional: 16, control: 32 }

/** What ends a transaction of a producer in the log. */
export function marker(type: 'abort' | 'commit', producerId: bigint, baseOffset: number): Buffer {
  const key = Buffer.from([0, 0, 0, type === 'abort' ? 0 : 1])
  const records = [{ key, value: Buffer.alloc(6) }]
  return storedBatch({ baseOffset, producerId, records, attributes: attributeBits.transactional | attributeBits.control })
}

/** The records in the form that compares: texts of headers as bytes, as they come back. */
export function comparable(records: readonly Pick<LogRecord, 'key' | 'value' | 'headers'>[]): unknown[] {
  return records.map(({ key, value, headers }) => ({
    key,
    value,
    headers: headers.map(([name, content]) => [name, typeof content === 'string' ? Buffer.from(content) : content]),
  }))
}

function recordBytes(
  { timestampDelta = 0, key = null, value = null, headers = [] }: StoredRecord,
  offsetDelta: number,
  base: number,
): Buffer {
  // Typed as if nothing could be null, written as what it is.
  const message = { topic: '', key, value, timestamp: BigInt(base + timestampDelta), headers: headerMap(headers) } as Parameters<
    typeof createRecord
  >[0]
  return createRecord(message, offsetDelta, BigInt(base)).buffer
}

/** Headers as the client takes them. Keys are buffers, so that names that repeat are keys of their own. */
export function headerMap(headers: readonly Header[]): Map<Buffer, Buffer | null> {
  return new Map(headers.map(([name, value]) => [Buffer.from(name), typeof value === 'string' ? Buffer.from(value) : value]))
}
