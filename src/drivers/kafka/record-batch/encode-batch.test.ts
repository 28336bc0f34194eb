import { Reader, compressionsAlgorithms, createRecordsBatch, readRecordsBatch } from '@platformatic/kafka'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { arbitraryRecords } from '../../../../test/drivers/kafka/support/arbitrary-records.ts'
import { comparable, headerMap } from '../../../../test/drivers/kafka/support/stored-batch.ts'
import type { Header } from '../../../message/port.ts'
import { type Compression, isAvailable } from './compression.ts'
import { decodeBatches } from './decode-batches.ts'
import { type EncodeOptions, encodeBatch } from './encode-batch.ts'
import type { RecordContent } from './record-size.ts'

const options: EncodeOptions = {
  producerId: 4_000n,
  producerEpoch: 3,
  baseSequence: 17,
  transactional: false,
  timestamp: 1_767_312_245_678,
  compression: 'none',
}
const compressions: readonly Compression[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
const decoding = { topic: 'orders', partition: 3, from: 0, abortedTransactions: null }

test.each(compressions.filter(isAvailable))('what was encoded with %s is decoded as it was', (compression) => {
  fc.assert(
    fc.property(arbitraryRecords, (records) => {
      const decoded = decodeBatches(encodeBatch(records, { ...options, compression }), decoding)
      expect(comparable(decoded.records)).toEqual(comparable(records))
      expect(decoded.records.map(({ offset }) => offset)).toEqual(records.map((_, index) => index))
      expect(decoded.records.every(({ timestamp }) => timestamp === options.timestamp)).toBe(true)
      expect(decoded.nextOffset).toBe(records.length)
    }),
    { numRuns: 60 },
  )
})

test('a batch is, byte for byte, the one that the client makes', () => {
  fc.assert(
    fc.property(arbitraryRecords, (records) => {
      const { producerId, producerEpoch, timestamp } = options
      const theirs = createRecordsBatch(
        records.map((record) => ({
          ...record,
          topic: 't',
          timestamp: BigInt(timestamp),
          headers: headerMap(record.headers),
        })) as Parameters<typeof createRecordsBatch>[0],
        { producerId, producerEpoch, partitionLeaderEpoch: -1, compression: 'none' },
      )
      expect(encodeBatch(records, { ...options, baseSequence: 0 }).equals(theirs.buffer)).toBe(true)
    }),
    { numRuns: 100 },
  )
})

test.each(compressions.filter(isAvailable))('the client reads what was encoded with %s', (compression) => {
  const value = Buffer.from('again and again and again and again and again and again')
  const headers: Header[] = [
    ['id', 'a'],
    ['id', null],
    ['ü', Buffer.from([0, 255])],
  ]
  const batch = encodeBatch([record({ key: Buffer.from('k'), headers }), record({ value })], {
    ...options,
    transactional: true,
    compression,
  })
  // The client of Node 20 does not know the frames that Java, and so we, put around snappy.
  const readable = compression === 'snappy' ? withoutFrame(batch) : batch
  const read = readRecordsBatch(Reader.from(readable))
  expect(read).toMatchObject({
    firstOffset: 0n,
    magic: 2,
    lastOffsetDelta: 1,
    firstTimestamp: BigInt(options.timestamp),
    maxTimestamp: BigInt(options.timestamp),
    producerId: 4_000n,
    producerEpoch: 3,
    firstSequence: 17,
  })
  expect(read.attributes & 16).toBe(16)
  expect(read.records.map(({ key, value }) => [key, value])).toEqual([
    [Buffer.from('k'), null],
    [null, value],
  ])
  expect(read.records[0]!.headers).toEqual([
    [Buffer.from('id'), Buffer.from('a')],
    [Buffer.from('id'), null],
    [Buffer.from('ü'), Buffer.from([0, 255])],
  ])
})

test('a batch that does not compress is sent as it is, no larger than it was counted', () => {
  const records = [record({ value: Buffer.from([1, 2, 3]) })]
  expect(encodeBatch(records, { ...options, compression: 'gzip' })).toEqual(encodeBatch(records, options))
})

test('a batch is not written over by the next one', () => {
  const first = encodeBatch([record({ value: Buffer.from('first') })], options)
  const before = Buffer.from(first)
  encodeBatch([record({ value: Buffer.from('other') })], options)
  expect(first).toEqual(before)
})

test('names that differ from record to record are written like those that recur', () => {
  const records = Array.from({ length: 600 }, (_, index) => record({ headers: [[`name-${index}`, `${index}`]] }))
  const decoded = decodeBatches(encodeBatch(records, options), decoding)
  expect(comparable(decoded.records)).toEqual(comparable(records))
})

test('a value of megabytes is written whole', () => {
  const value = Buffer.alloc(3_000_000, 'value')
  const text = 'ü'.repeat(300_000)
  const { records } = decodeBatches(encodeBatch([record({ value }), record({ headers: [['text', text]] })], options), decoding)
  expect(records[0]!.value!.equals(value)).toBe(true)
  expect(records[1]!.headers[0]![1]!.toString() === text).toBe(true)
})

test('no records make no batch', () => {
  expect(() => encodeBatch([], options)).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }))
})

test.skipIf(isAvailable('zstd'))('zstd on a Node without it is refused, with what to do', () => {
  const refused = expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining('Run Node 22.15 or newer') })
  expect(() => encodeBatch([record({})], { ...options, compression: 'zstd' })).toThrow(refused)
})

function record(content: Partial<RecordContent>): RecordContent {
  return { key: null, value: null, headers: [], ...content }
}

/** With the records as one plain block of snappy. */
function withoutFrame(batch: Buffer): Buffer {
  const block = batch.subarray(61 + 20)
  expect(compressionsAlgorithms.snappy.decompressSync(block).length).toBeGreaterThan(0)
  const plain = Buffer.concat([batch.subarray(0, 61), block])
  plain.writeInt32BE(plain.length - 12, 8)
  return plain
}
