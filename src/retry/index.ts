/**
 * How a failing message is tried again in place, while its lane waits. A message that fails `maxAttempts` times goes to the dead letters.
 *
 * @module
 */

export { defaultRetryPolicy, retryDelayMs } from '../consumer/failure-policy.ts'
export type { RetryPolicy } from '../consumer/failure-policy.ts'
