import { TidemarkError } from '../errors.ts'
import type { Failure } from './batch-order.ts'

/** Longest text kept of an error: some carry whole documents. */
const longest = 10_000

/** Puts whatever was thrown into words. Total: it never throws itself. */
export function failureOf(error: unknown): Failure {
  try {
    if (!(error instanceof Error)) return { errorClass: typeof error, reason: shortened(String(error)), stack: null }
    const errorClass = TidemarkError.is(error)
      ? error.code
      : 'code' in error && typeof error.code === 'string'
        ? `${error.name} ${error.code}`
        : error.name
    return { errorClass: shortened(errorClass), reason: shortened(error.message), stack: stackOf(error) }
  } catch {
    return { errorClass: 'unknown', reason: 'Something was thrown that cannot be put into words.', stack: null }
  }
}

function stackOf(error: Error): string | null {
  const cause = error.cause instanceof Error ? `\nCaused by: ${error.cause.stack ?? error.cause.message}` : ''
  return error.stack === undefined ? null : shortened(error.stack + cause)
}

function shortened(text: string): string {
  return text.length <= longest ? text : `${text.slice(0, longest)} … (${text.length} characters)`
}
