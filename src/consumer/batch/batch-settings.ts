import type { Clock } from '../../internal/clock.ts'
import type { LogRecord } from '../../message/port.ts'
import type { EnvelopeOptions } from '../../message/read-envelope.ts'
import type { CircuitBreaker } from '../../retry/circuit-breaker.ts'
import type { RetryPolicy } from '../../retry/retry-policy.ts'
import type { RetryTopics } from '../../retry/retry-topics.ts'
import type { DeadLetterPolicy } from '../dead-letter-policy.ts'
import type { Routes } from '../handler.ts'
import type { Optimism } from './optimism.ts'
import type { ConsumerStore, ParkedBounds, PartitionRef } from '../port.ts'
import type { Suspects } from '../partition/suspects.ts'
import type { Tally } from '../tally.ts'

/** A message that waits with its key from now on. */
export interface ParkedNow {
  readonly handler: string
  readonly partition: PartitionRef
  readonly record: LogRecord
  /** Until it is tried again. */
  readonly afterMs: number
  readonly charged: boolean
}

/** What lanes and retriers of a consumer have in common. */
export interface BatchSettings {
  readonly store: ConsumerStore
  readonly routes: Routes
  readonly envelope: EnvelopeOptions
  readonly deadLetter: DeadLetterPolicy
  readonly retry: RetryPolicy
  readonly retryTopics: RetryTopics
  /** Of the broker. */
  readonly maxRecordBytes: number
  readonly timeoutMs: number
  readonly bounds: ParkedBounds
  /** `null`: none is wanted. */
  readonly breaker: CircuitBreaker | null
  readonly codeVersion: string | null
  readonly clock: Clock
  readonly optimism: Optimism
  readonly tally: Tally
  readonly suspects: Suspects
  onPublished(): void
  onParked(parked: ParkedNow): void
}
