import type { Header, LogRecord } from '../../../message/port.ts'
import { withinYears } from '../../../message/storable.ts'
import { attribute } from './batch-format.ts'
import type { BatchHead } from './batch-head.ts'
import type { HeaderNames } from './header-names.ts'
import { RecordCursor } from './record-cursor.ts'

/**
 * Reads the records from offset `from` on out of `bytes`, what follows the head of a batch, decompressed; at most `limit`. They are added to `records`,
 * and their keys and values are parts of `bytes`.
 *
 * Throws a `RangeError` where the bytes are not what the head says; any number of records may have been added then.
 */
export function readRecords(bytes: Buffer, head: BatchHead, from: number, limit: number, names: HeaderNames, records: LogRecord[]): void {
  const { topic, partition } = head.place
  const { baseOffset, baseTimestamp, maxTimestamp } = head
  const logAppendTime = (head.attributes & attribute.logAppendTime) !== 0
  const cursor = new RecordCursor(bytes)
  let lowest = baseOffset
  for (let index = 0; index < head.count; index++) {
    const length = cursor.varint()
    const end = cursor.skip(length, bytes.length) + length
    cursor.position = end - length + 1 // past the attributes, of which there are none
    const timestampDelta = cursor.varlong()
    const offset = baseOffset + cursor.varint()
    if (offset < lowest || offset > head.lastOffset) throw new RangeError(`a record's offset is ${offset}, out of order`)
    lowest = offset + 1
    if (offset < from) {
      cursor.position = end
      continue
    }
    const key = cursor.nullable(end)
    const value = cursor.nullable(end)
    const headers = readHeaders(cursor, end, names)
    if (cursor.position !== end) throw new RangeError(`a record is longer than its length of ${length} says, or shorter`)
    const timestamp = withinYears(logAppendTime ? maxTimestamp : baseTimestamp + timestampDelta)
    records.push({ topic, partition, offset, timestamp, key, value, headers })
    if (records.length === limit) return
  }
  if (cursor.position !== bytes.length) throw new RangeError(`it has ${bytes.length - cursor.position} bytes behind its last record`)
}

function readHeaders(cursor: RecordCursor, end: number, names: HeaderNames): readonly Header[] {
  const count = cursor.varint()
  // A header has two bytes at least: a count beyond that is damage, not a reason to make room.
  if (count < 0 || count * 2 > end - cursor.position) throw new RangeError(`a record has ${count} headers`)
  const headers: Header[] = []
  for (let index = 0; index < count; index++) {
    const start = cursor.skip(cursor.varint(), end)
    const name = names.read(cursor.bytes, start, cursor.position)
    headers.push([name, cursor.nullable(end)])
  }
  return headers
}
