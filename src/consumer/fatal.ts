import { TidemarkError } from '../errors.ts'

/** Will trying again never help? Only our own errors say so; what is unknown may pass. */
export function isFatal(error: unknown): boolean {
  return TidemarkError.is(error) && !error.retryable
}
