import fc from 'fast-check'
import { expect, test } from 'vitest'
import { arbitraryRecord, arbitraryRecords } from '../../../../test/drivers/kafka/support/arbitrary-records.ts'
import { cutBatches } from './cut-batches.ts'
import { encodeBatch } from './encode-batch.ts'
import { type RecordContent, batchOverhead, recordSizeAtMost, recordSizeInBatch, varintSize } from './record-size.ts'

const options = { producerId: 1n, producerEpoch: 0, baseSequence: 0, transactional: false, timestamp: 0, compression: 'none' } as const
const encodedSize = (records: readonly RecordContent[]): number => encodeBatch(records, options).length

test('a batch has exactly the size that was counted for it', () => {
  fc.assert(
    fc.property(arbitraryRecords, (records) => {
      const counted = records.reduce((sum, record, index) => sum + recordSizeInBatch(record, index), batchOverhead)
      expect(encodedSize(records)).toBe(counted)
    }),
  )
})

test('a record is never larger than the cheap estimate, at whatever index', () => {
  fc.assert(
    fc.property(arbitraryRecord, fc.nat(), (record, index) => {
      expect(recordSizeInBatch(record, index)).toBeLessThanOrEqual(recordSizeAtMost(record))
    }),
  )
})

function checkRanges(records: readonly RecordContent[], limit: number): ReturnType<typeof cutBatches> {
  const { ranges, tooLarge } = cutBatches(records, limit)
  for (const [number, { start, end }] of ranges.entries()) {
    expect(encodedSize(records.slice(start, end))).toBeLessThanOrEqual(limit)
    if (ranges[number + 1]?.start === end) expect(encodedSize(records.slice(start, end + 1))).toBeGreaterThan(limit)
  }
  for (const index of tooLarge) expect(encodedSize(records.slice(index, index + 1))).toBeGreaterThan(limit)
  return { ranges, tooLarge }
}

test('each batch is within the limit and takes as many records as fit; those of which none can be made are named', () => {
  fc.assert(
    fc.property(arbitraryRecords, fc.integer({ min: batchOverhead, max: 12_000 }), (records, limit) => {
      const { ranges, tooLarge } = checkRanges(records, limit)
      const taken = ranges.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, step) => start + step))
      expect([...taken, ...tooLarge].toSorted((a, b) => a - b)).toEqual(records.map((_, index) => index))
      expect(taken).toEqual(taken.toSorted((a, b) => a - b))
    }),
    { numRuns: 300 },
  )
})

test('a limit is used to the last byte', () => {
  const records = Array.from({ length: 150 }, (_, index) => ({ key: null, value: Buffer.alloc(index % 4), headers: [] }))
  for (let limit = 400; limit < 1_300; limit++) checkRanges(records, limit)
})

test('a batch of exactly the limit is taken, one byte less is not enough', () => {
  const records = [{ key: null, value: Buffer.alloc(500), headers: [] }]
  const size = encodedSize(records)
  expect(cutBatches(records, size)).toEqual({ ranges: [{ start: 0, end: 1 }], tooLarge: [] })
  expect(cutBatches(records, size - 1)).toEqual({ ranges: [], tooLarge: [0] })
})

test('no records make no batch', () => {
  expect(cutBatches([], 1_000)).toEqual({ ranges: [], tooLarge: [] })
})

test.each([
  [0, 1],
  [63, 1],
  [64, 2],
  [8_191, 2],
  [8_192, 3],
  [1_048_575, 3],
  [1_048_576, 4],
  [134_217_727, 4],
  [134_217_728, 5],
  [2_147_483_647, 5],
])('the number %i takes %i bytes', (value, size) => {
  expect(varintSize(value)).toBe(size)
})
