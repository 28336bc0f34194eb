import { expect, test } from 'vitest'
import { withAttempt } from './attempts.ts'
import type { FailedAttempt } from '../port.ts'

test('of attempts without end the first one and the last ones are kept, and of long texts the beginning', () => {
  let attempts: readonly FailedAttempt[] = []
  for (let at = 1; at <= 1_000; at++) attempts = withAttempt(attempts, { at, error: 'x'.repeat(20_000) })
  expect(attempts.map(({ at }) => at)).toEqual([1, ...Array.from({ length: 49 }, (_, i) => 952 + i)])
  expect(JSON.stringify(attempts).length).toBeLessThan(100_000)
})
