import { expect, test } from 'vitest'
import type { Header, LogRecord } from '../../message/port.ts'
import { coordinateOf, originalOf, passOnHeaders, passedOnHeaders } from './original-record.ts'

const record: LogRecord = {
  topic: 'orders',
  partition: 3,
  offset: 41,
  timestamp: 1_700_000_000_000,
  key: Buffer.from('k'),
  value: Buffer.from('{}'),
  headers: [
    ['ce_id', 'm-1'],
    ['tidemark-coordinate', 'db.1/1/0/5/6'],
  ],
}
const attempts = [{ at: 1_700_000_000_001, error: 'away' }]
const passOn = { group: 'billing', count: 1, attempts, errorClass: 'Error', error: 'away', dueAt: 1_700_000_001_000 }
/** As it stands in the retry topic, with the coordinate of whoever sent it there. */
const there = (headers: readonly Header[]): LogRecord => {
  return {
    ...record,
    topic: 'orders.billing.retry.1',
    partition: 0,
    offset: 9,
    timestamp: 1_700_000_000_500,
    headers: [...headers, ['tidemark-coordinate', 'db.1/1/0/8/9']],
  }
}

test('a record comes out of a retry topic as it was, with its attempts', () => {
  const passed = there(passOnHeaders(record, passOn))
  expect(originalOf(passed)).toEqual({ record, known: true, count: 1, attempts })
  expect(coordinateOf(passed)).toMatchObject({ tick: 8, seq: 9 })
  // Through any number of them.
  const again = there(passOnHeaders(originalOf(passed).record, { ...passOn, count: 2 }))
  expect(originalOf(again)).toEqual({ record, known: true, count: 2, attempts })
  expect(again.headers.filter(([name]) => name === passedOnHeaders.count)).toHaveLength(1)
})

test('one that says nothing is what it is', () => {
  const foreign = { ...record, topic: 'orders.billing.retry.1' }
  expect(originalOf(foreign)).toEqual({ record: foreign, known: false, count: 0, attempts: [] })
})

test.each<[string, string]>([
  [passedOnHeaders.offset, 'x'],
  [passedOnHeaders.count, '-1'],
  [passedOnHeaders.attempts, '{"at":1}'],
  [passedOnHeaders.attempts, '[null, 1, {"at":"x"}]'],
  [passedOnHeaders.partition, '9'.repeat(40)],
])('nonsense in %s is nobody’s end', (name, text) => {
  const read = originalOf(
    there([
      ['ce_id', 'm-1'],
      [name, text],
    ]),
  )
  expect(read).toMatchObject({ known: true, count: 0, attempts: [] })
  expect(read.record.headers.map(([header]) => header)).toEqual(['ce_id', 'tidemark-coordinate'])
})

test('attempts without end and errors of any length stay small', () => {
  const many = Array.from({ length: 60 }, (_, at) => ({ at, error: 'x'.repeat(5_000) }))
  const headers = passOnHeaders(record, { ...passOn, count: 60, attempts: many, error: 'y'.repeat(50_000) })
  const bytes = headers.reduce((sum, [name, value]) => sum + name.length + (value?.length ?? 0), 0)
  expect(bytes).toBeLessThan(8_000)
  const read = originalOf(there(headers))
  expect(read.count).toBe(60)
  expect(read.attempts.map(({ at }) => at)).toEqual([0, 51, 52, 53, 54, 55, 56, 57, 58, 59])
})
