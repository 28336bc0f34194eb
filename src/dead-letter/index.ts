/**
 * The record of a message that failed for good: its bytes as they stood in the log, where they stood, and everything known of the failure.
 * It is written in the transaction that moves the position past the message, so it is there exactly once.
 *
 * @module
 */

export type { DeadLetterPolicy } from '../consumer/failure-policy.ts'
export type { DeadLetter, FailedAttempt } from '../consumer/port.ts'
