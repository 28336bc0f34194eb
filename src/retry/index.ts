/**
 * What to do about failures: which may pass, when a message is tried again, and when it is no longer the message that is at fault.
 *
 * The consumer does all of it by itself; errors to throw from handlers are `TerminalError` (and its kin) and `RetryLater`.
 *
 * @module
 */

export { CircuitBreaker, defaultBreakerPolicy } from './circuit-breaker.ts'
export type { BreakerEvents, BreakerFailure, BreakerPolicy, Permit } from './circuit-breaker.ts'
export { classifications, classify } from './classification.ts'
export type { Classification } from './classification.ts'
export { failureClasses } from './failure-class.ts'
export type { FailureClass } from './failure-class.ts'
export { BusinessRuleViolation, DeserializationError, RetryLater, TerminalError, ValidationError } from './failure-errors.ts'
export { failureOf, fingerprintOf } from './failure.ts'
export type { Failure } from './failure.ts'
export type { DeadLetterTopic, RetryTopicsOptions } from './retry-topics.ts'
export { defaultRetryPolicy, nextStep, retryDelayMs, retryPolicy } from './retry-policy.ts'
export type { ChargedFailure, NextStep, RetryPolicy, RetryTiming } from './retry-policy.ts'
