import { expect, test } from 'vitest'
import { suggestion } from './suggestion.ts'

const names = ['migrate', 'outbox status', 'outbox parked', 'outbox release']

test.each([
  ['migrat', 'migrate'],
  ['mirgate', 'migrate'],
  ['outbox statsu', 'outbox status'],
  ['outbx status', 'outbox status'],
  ['outbox rel', 'outbox release'],
])('%s is near to %s', (typed, meant) => {
  expect(suggestion(typed, names)).toBe(meant)
})

test.each(['', 'x', 'frobnicate', 'outbox frobnicate', 'replay'])('%j is near to nothing', (typed) => {
  expect(suggestion(typed, names)).toBeNull()
})
