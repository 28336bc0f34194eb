import { expect, test } from 'vitest'
import { backoffMs } from './backoff.ts'

const backoff = { firstMs: 100, maxMs: 5_000 }

test('the wait doubles with each failure, up to the limit', () => {
  expect([1, 2, 3, 6, 7, 50, 5_000].map((failures) => backoffMs(backoff, failures, 1))).toEqual([100, 200, 400, 3_200, 5_000, 5_000, 5_000])
})

test('chance takes it down by half at most', () => {
  expect(backoffMs(backoff, 1, 0)).toBe(50)
  expect(backoffMs(backoff, 3, 0.5)).toBe(300)
})
