import { expect, test } from 'vitest'
import { filterFromParams, filterToParams } from './letter-filter.ts'
import type { LetterFilter } from './port.ts'

test('a filter comes back from JSON as it was', () => {
  const filter: LetterFilter = {
    ids: [17],
    groups: ['billing'],
    states: ['dead', 'redriven'],
    assignee: null,
    text: 'price',
    inPayload: true,
    headers: { tenant: 'a' },
    diedFrom: new Date('2026-01-31T12:00Z'),
    diedBefore: new Date('2026-02-01T12:00Z'),
    archived: 'any',
  }
  expect(filterFromParams(filterToParams(filter))).toEqual(filter)
  expect(filterFromParams({})).toEqual({})
})

test.each([
  [null],
  [{ typ: ['A'] }],
  [{ types: 'A' }],
  [{ ids: ['17'] }],
  [{ ids: [1.5] }],
  [{ ids: [1n] }],
  [['A']],
  [{ keys: ['a\0b'] }],
  [{ states: ['sleeping'] }],
  [{ assignee: 5 }],
  [{ text: ['a'] }],
  [{ inPayload: 'yes' }],
  [{ headers: ['a'] }],
  [{ headers: { tenant: 5 } }],
  [{ diedFrom: 'yesterday' }],
  [{ archived: 'yes' }],
])('what is no filter is refused, rather than taken for a wider one: %o', (params) => {
  expect(() => filterFromParams(params)).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }) as Error)
})
