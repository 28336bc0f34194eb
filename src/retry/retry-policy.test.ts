import { expect, test } from 'vitest'
import { type ChargedFailure, defaultRetryPolicy, nextStep, retryDelayMs, retryPolicy } from './index.ts'

const failure = (more: Partial<ChargedFailure> = {}): ChargedFailure => ({
  is: 'bug',
  attempts: 1,
  firstFailedAt: 0,
  now: 0,
  random: 0.999999,
  ...more,
})

test('the pause doubles with each failure, from one second on, up to its limit', () => {
  const longest = [1, 2, 3, 4, 8, 1_000].map((failures) => retryDelayMs(defaultRetryPolicy, failures, 0.999999))
  expect(longest).toEqual([999, 1_999, 3_999, 7_999, 59_999, 59_999])
})

test('the pause is anything down to none, so that many do not come back at once; without jitter it is the whole', () => {
  expect(retryDelayMs(defaultRetryPolicy, 3, 0)).toBe(0)
  expect(retryDelayMs(defaultRetryPolicy, 3, 0.5)).toBe(2_000)
  expect(retryDelayMs({ ...defaultRetryPolicy, jitter: 'none' }, 3, 0.5)).toBe(4_000)
})

test('a message gets five attempts, and the fifth failure is the last', () => {
  const steps = [1, 2, 3, 4, 5, 6].map((attempts) => nextStep(defaultRetryPolicy, failure({ attempts })).do)
  expect(steps).toEqual(['park', 'park', 'park', 'park', 'bury', 'bury'])
})

test('what can never be handled is given up at once, and what waits for a newer process never is', () => {
  expect(nextStep(defaultRetryPolicy, failure({ is: 'poison' }))).toEqual({ do: 'bury' })
  expect(nextStep(defaultRetryPolicy, failure({ is: 'incompatible', attempts: 1_000 }))).toMatchObject({ do: 'park', afterMs: 299_999 })
})

test('a failure after the deadline is the last', () => {
  const policy = retryPolicy(defaultRetryPolicy, { deadlineMs: 1_000 })
  expect(nextStep(policy, failure({ now: 999 })).do).toBe('park')
  expect(nextStep(policy, failure({ now: 1_000 })).do).toBe('bury')
})

test('a policy takes what it does not say from the one below it, class by class', () => {
  const consumer = retryPolicy(defaultRetryPolicy, { maxAttempts: 3, byClass: { transient: { maxAttempts: 7 } } })
  const handler = retryPolicy(consumer, { baseDelayMs: 5, byClass: { bug: { maxAttempts: 2 } } })
  expect(handler).toMatchObject({ maxAttempts: 3, baseDelayMs: 5, maxDelayMs: 60_000 })
  const last = (is: ChargedFailure['is']) =>
    [1, 2, 3, 4, 5, 6, 7].find((attempts) => nextStep(handler, failure({ is, attempts })).do === 'bury')
  expect([last('transient'), last('bug'), last('fenced')]).toEqual([7, 2, 3])
})
