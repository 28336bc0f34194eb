import type { FailedAttempt } from '../port.ts'

/** Of attempts without end, the first one and so many of the last are kept: when it began, and how it goes. */
const mostKept = 50

/** Texts of errors may be long, and every attempt has one. The last one is told in full beside them. */
const longestError = 1_000

/** The attempts with one more behind them. */
export function withAttempt(attempts: readonly FailedAttempt[], { at, error }: FailedAttempt): readonly FailedAttempt[] {
  const more = [...attempts, { at, error: error.slice(0, longestError) }]
  return more.length <= mostKept ? more : [more[0]!, ...more.slice(1 - mostKept)]
}
