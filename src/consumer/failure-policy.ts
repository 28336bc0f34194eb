/** How often and how fast a failing message is tried again before it goes to the dead letters. Its lane waits meanwhile. */
export interface RetryPolicy {
  /** Runs in all, the first included. @default 5 */
  readonly maxAttempts: number
  /** Longest pause after the first failure; doubles with each further one. @default 100 ms */
  readonly baseDelayMs: number
  /** The pause never gets longer. @default 10,000 ms */
  readonly maxDelayMs: number
}

export const defaultRetryPolicy: RetryPolicy = { maxAttempts: 5, baseDelayMs: 100, maxDelayMs: 10_000 }

/**
 * What happens to the messages behind a dead letter. `block`: those of its key wait, in order, until it is redriven or discarded. `skip`:
 * they go on without it, and the order of the key is given up there.
 */
export type DeadLetterPolicy = 'block' | 'skip'

/**
 * The pause after the n-th failure: anything from 0 up to the doubled base ("full jitter"), so that many failing at once do not come back
 * at once. `random` is from 0 to below 1. Source: Marc Brooker, "Exponential Backoff And Jitter", 2015.
 */
export function retryDelayMs(policy: Pick<RetryPolicy, 'baseDelayMs' | 'maxDelayMs'>, failures: number, random: number): number {
  return Math.floor(random * Math.min(policy.maxDelayMs, policy.baseDelayMs * 2 ** Math.min(failures - 1, 40)))
}
