import type { Header, OutgoingRecord } from '../../../message/port.ts'
import { headSize } from './batch-format.ts'

/** What of a record goes into a batch. */
export type RecordContent = Pick<OutgoingRecord, 'key' | 'value' | 'headers'>

/** Bytes of a batch beside its records. The size of an uncompressed batch is this and the sizes of its records, exactly. */
export const batchOverhead = headSize

/** Bytes that `record` takes in a batch, uncompressed, as its `index`-th record from 0. */
export function recordSizeInBatch(record: RecordContent, index: number): number {
  const size = contentSize(record) + varintSize(index)
  return varintSize(size) + size
}

/** Never below `recordSizeInBatch` at any index, at a fraction of its cost: no text is measured. */
export function recordSizeAtMost({ key, value, headers }: RecordContent): number {
  let size = 2 + 5 * varintLimit + (key?.length ?? 0) + (value?.length ?? 0)
  for (const [name, content] of headers) size += 2 * varintLimit + 3 * name.length + contentAtMost(content)
  return size
}

/** Bytes of a zig-zag varint of a number that is not negative. */
export function varintSize(value: number): number {
  if (value < 0x40) return 1
  if (value < 0x2000) return 2
  if (value < 0x10_0000) return 3
  return value < 0x800_0000 ? 4 : 5
}

const varintLimit = 5

function contentSize({ key, value, headers }: RecordContent): number {
  // The attributes and a timestamp delta of 0 take a byte each.
  let size = 2 + nullableSize(key) + nullableSize(value) + varintSize(headers.length)
  for (const [name, content] of headers) {
    size += textSize(name) + (typeof content === 'string' ? textSize(content) : nullableSize(content))
  }
  return size
}

function nullableSize(bytes: Buffer | null): number {
  return bytes === null ? 1 : varintSize(bytes.length) + bytes.length
}

function textSize(text: string): number {
  const length = Buffer.byteLength(text)
  return varintSize(length) + length
}

function contentAtMost(content: Header[1]): number {
  if (content === null) return 0
  return typeof content === 'string' ? 3 * content.length : content.length
}
