import { expect, test } from 'vitest'
import { isPassedOn, passedOn, readPassedOn } from './passed-on.ts'
import type { Header } from './port.ts'

const of = { topic: 'elsewhere', type: null, aggregateType: 'somewhere', place: 'somewhere-0-7' }

test.each<[string, Buffer | null, Buffer | null, readonly Header[]]>([
  ['text', Buffer.from('k'), Buffer.from('{}'), [['a', 'b']]],
  ['bytes that are no text', Buffer.from([0xff, 0, 0xfe]), Buffer.from([0, 1, 2]), [['a', Buffer.from([0xff, 0])]]],
  ['no key, no value', null, null, [['gone', null]]],
  ['an empty key and an empty value', Buffer.alloc(0), Buffer.alloc(0), []],
  [
    'one name twice, and names that no object takes',
    Buffer.from('k'),
    Buffer.from('v'),
    [
      ['a', '1'],
      ['a', '2'],
      ['__proto__', 'x'],
      ['\0', 'y'],
    ],
  ],
])('%s goes through the outbox byte for byte', (_name, key, value, headers) => {
  const row = passedOn({ ...of, key, value, headers })
  expect(isPassedOn(row)).toBe(true)
  const bytes = headers.map(([name, text]) => [name, text === null ? null : Buffer.from(text)])
  expect(readPassedOn(row)).toEqual({ key, value, headers: bytes })
  // What Postgres takes as text.
  expect(row.aggregateId).toMatch(/^[^\0]+$/)
  expect(JSON.stringify(row.headers)).not.toMatch(/\\u0000/)
})

test.each(['', 'x', 'bnVsbA==', 'W10=', 'WzEsMl0='])('a row of somebody else is not taken for one: %j', (text) => {
  expect(readPassedOn({ ...passedOn({ ...of, key: null, value: null, headers: [] }), headers: { 'tidemark-record': text } })).toBeNull()
})
