import { expect, test } from 'vitest'
import { defaultRetryPolicy, retryDelayMs } from './failure-policy.ts'

test('the pause doubles with each failure, up to its limit', () => {
  const longest = [1, 2, 3, 4, 8, 1_000].map((failures) => retryDelayMs(defaultRetryPolicy, failures, 0.999999))
  expect(longest).toEqual([99, 199, 399, 799, 9_999, 9_999])
})

test('the pause is anything down to none, so that many do not come back at once', () => {
  expect(retryDelayMs(defaultRetryPolicy, 5, 0)).toBe(0)
  expect(retryDelayMs(defaultRetryPolicy, 5, 0.5)).toBe(800)
})
