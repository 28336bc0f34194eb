import { expect, test } from 'vitest'
import { checkPage, isWithin, recordBytes, sourceLife, withoutRepeats } from './page.ts'
import type { SequencedRecord } from './port.ts'

const claim = { sourceEpoch: 's.1', generation: 1, stream: 0, epoch: 1, topics: [] }
const at = (tick: number, seq: number, rest: Partial<SequencedRecord> = {}): SequencedRecord => ({
  topic: 't',
  partition: 0,
  key: null,
  value: Buffer.from('12345'),
  headers: [],
  coordinate: { sourceEpoch: 's.1', generation: 1, stream: 0, tick, seq },
  ...rest,
})

test('the size of a record is that of its key, value, and header names and values, in bytes', () => {
  const headers = [
    ['ü', 'x'],
    ['n', null],
    ['b', Buffer.alloc(3)],
  ] as const
  expect(recordBytes({ key: Buffer.alloc(2), value: null, headers })).toBe(2 + 2 + 1 + 1 + 1 + 3)
})

test.each(['plain', 'ümlaut', '€€', '😀'])('a record with the text %s is within a limit exactly when its size is', (text) => {
  const record = { key: Buffer.from(text), value: null, headers: [[text, text]] as const }
  const size = recordBytes(record)
  expect([size - 1, size, size + 1, 3 * size].map((limit) => isWithin(record, limit))).toEqual([false, true, true, true])
})

test('records past the limit are refused by place; a coordinate of a refused one counts for the order all the same', () => {
  const large = at(1, 2, { value: Buffer.alloc(11) })
  const { records, refusals } = checkPage([at(1, 1), large, at(1, 3)], claim, 10)
  expect([records.map((one) => one.coordinate!.seq), refusals.map(({ index }) => index)]).toEqual([[1, 3], [1]])
  expect(() => checkPage([at(1, 1), large, at(1, 2)], claim, 10)).toThrow('must rise')
})

test('only what stands at or before the last coordinate of the same life and generation is a repeat', () => {
  const page = [at(1, 9), at(2, 5), at(2, 6), at(3, 1), at(1, 1, { coordinate: null })]
  const seqs = (last: Parameters<typeof withoutRepeats>[1]): unknown[] =>
    withoutRepeats(page, last).map((one) => one.coordinate?.seq ?? null)
  expect(seqs({ ...claim, tick: 2, seq: 5 })).toEqual([6, 1, null])
  expect(seqs({ ...claim, sourceEpoch: 's.0', tick: 2, seq: 5 })).toHaveLength(5)
  expect(seqs({ ...claim, generation: 0, tick: 2, seq: 5 })).toHaveLength(5)
  expect(seqs(null)).toHaveLength(5)
})

test('the life of a source is the number at the end of its epoch', () => {
  expect(sourceLife('a.b.12')).toEqual({ source: 'a.b', life: 12 })
  expect(sourceLife('plain')).toEqual({ source: 'plain', life: 0 })
})
