import type { FailureClass } from './failure-class.ts'

/** When a parked message is tried again, and how often. */
export interface RetryTiming {
  /** Charged runs in all, the first included. The last failure makes a dead letter. @default 5 */
  readonly maxAttempts: number
  /** Pause after the first failure; doubles with each further one. @default 1,000 ms */
  readonly baseDelayMs: number
  /** The pause never gets longer. @default 60,000 ms */
  readonly maxDelayMs: number
  /** `full`: anything from nothing up to the pause, so that many who failed together do not come back together. @default 'full' */
  readonly jitter: 'full' | 'none'
  /** A failure so long after the first one is the last. @default none */
  readonly deadlineMs: number | null
}

/** What happens to a message whose handler failed. */
export interface RetryPolicy extends RetryTiming {
  /** Runs in place, at once, before the message is charged and parked with its key. @default 1 */
  readonly immediate: number
  /** Other timing for failures of a class. `poison` is never tried again. @default that of the policy; see `defaultRetryPolicy` */
  readonly byClass: Readonly<Partial<Record<Exclude<FailureClass, 'poison' | 'fenced'>, Partial<RetryTiming>>>>
}

export const defaultRetryPolicy: RetryPolicy = {
  immediate: 1,
  maxAttempts: 5,
  baseDelayMs: 1_000,
  maxDelayMs: 60_000,
  jitter: 'full',
  deadlineMs: null,
  // It waits for a deployment.
  byClass: { incompatible: { maxAttempts: Number.POSITIVE_INFINITY, baseDelayMs: 5_000, maxDelayMs: 300_000 } },
}

/** What is left out comes from `base`; classes one by one. */
export function retryPolicy(base: RetryPolicy, given: Partial<RetryPolicy> | undefined): RetryPolicy {
  return given === undefined ? base : { ...base, ...given, byClass: { ...base.byClass, ...given.byClass } }
}

export type NextStep = { readonly do: 'park'; readonly afterMs: number } | { readonly do: 'bury' }

/** A message has failed, and was charged. */
export interface ChargedFailure {
  readonly is: FailureClass
  /** Charged runs so far, this one included. */
  readonly attempts: number
  /** Milliseconds since 1970. */
  readonly firstFailedAt: number
  readonly now: number
  /** From 0 to below 1. */
  readonly random: number
}

/** What to do with a message after a charged failure. */
export function nextStep(policy: RetryPolicy, { is, attempts, firstFailedAt, now, random }: ChargedFailure): NextStep {
  if (is === 'poison') return { do: 'bury' }
  const timing: RetryTiming = is === 'fenced' ? policy : { ...policy, ...policy.byClass[is] }
  if (attempts >= timing.maxAttempts) return { do: 'bury' }
  if (timing.deadlineMs !== null && now - firstFailedAt >= timing.deadlineMs) return { do: 'bury' }
  return { do: 'park', afterMs: retryDelayMs(timing, attempts, random) }
}

/**
 * The pause after the n-th failure: the doubled base, or, with full jitter, anything from 0 up to it. `random` is from 0 to below 1.
 * Source: Marc Brooker, "Exponential Backoff And Jitter", 2015.
 */
export function retryDelayMs(
  { baseDelayMs, maxDelayMs, jitter = 'full' }: Pick<RetryTiming, 'baseDelayMs' | 'maxDelayMs'> & Partial<Pick<RetryTiming, 'jitter'>>,
  failures: number,
  random: number,
): number {
  const longest = Math.min(maxDelayMs, baseDelayMs * 2 ** Math.min(failures - 1, 40))
  return jitter === 'none' ? longest : Math.floor(random * longest)
}
