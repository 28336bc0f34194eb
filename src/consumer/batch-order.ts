import type { Entry } from './entry.ts'
import type { Leaders } from './leaders.ts'
import type { FailedAttempt, LanePosition, LaneRef } from './port.ts'

/** What went wrong with a message, in words that outlive the error. */
export interface Failure {
  readonly errorClass: string
  readonly reason: string
  readonly stack: string | null
}

/** A batch of one lane, to be run in one transaction. */
export interface BatchOrder {
  readonly lane: LaneRef
  readonly position: LanePosition
  /** Never empty; consecutive messages of the lane. */
  readonly entries: readonly Entry[]
  /** Where the lane stands when all of them are done. */
  readonly nextOffset: number
  /** Who wrote what was read up to there. */
  readonly leaders: Leaders
  /** Keys (wire bytes, base64) whose messages must queue. */
  readonly parked: ReadonlySet<string>
  /** Which run of its first message this is, from 1. Above 1 the batch has only that one. */
  readonly attempt: number
  /** The message failed for good: to the dead letters with it, without running it. It is alone. */
  readonly verdict: { readonly failure: Failure; readonly attempts: readonly FailedAttempt[] } | null
}

/** How a batch ended. Only `committed` has an effect. */
export type BatchResult =
  /** Durable, perhaps only a first part of the batch: `position` tells. `parkedKey` waits from now on. */
  | {
      readonly outcome: 'committed'
      readonly position: LanePosition
      readonly handled: number
      readonly ms: number
      readonly parkedKey: string | null
    }
  /** Some message from `first` to `last` (offsets) failed. If they are one, it is charged. */
  | { readonly outcome: 'failed'; readonly first: number; readonly last: number; readonly failure: Failure }
  /** Position, parked keys or handled ids differ from what was assumed. */
  | { readonly outcome: 'reload' }
  /** Deadlock or serialisation failure. */
  | { readonly outcome: 'conflict'; readonly failure: Failure }
  /** The database is away, or what a codec needs, or the commit's outcome is unknown. */
  | { readonly outcome: 'unavailable'; readonly failure: Failure }
  /** The partition was given up while it ran. */
  | { readonly outcome: 'dropped' }
