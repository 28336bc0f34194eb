import type { Failure } from '../../retry/failure.ts'
import type { Entry } from './entry.ts'
import type { Leaders } from '../partition/leaders.ts'
import type { LanePosition, LaneRef } from '../port.ts'
import type { SuspectMark } from '../partition/suspects.ts'

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
  /** The message is alone and has failed in a way that took the batch along: it is parked, or buried, without running it. */
  readonly verdict: Failure | null
  /** One of its like may have made a process end. It is alone, and noted before it runs. */
  readonly suspect: boolean
  /** What of that this owner has noted. */
  readonly mark: SuspectMark
  /** See `BatchEnd`. */
  readonly inFlight: number
}

/** How a batch ended. Only `committed` has an effect. */
export type BatchResult =
  /** Durable, perhaps only a first part of the batch: `position` tells. `parkedKeys` wait from now on. `redone`: not at the first try. */
  | {
      readonly outcome: 'committed'
      readonly position: LanePosition
      readonly handled: number
      readonly ms: number
      readonly parkedKeys: readonly string[]
      /** What others have held meanwhile, and waits as well. */
      readonly heldKeys: readonly string[]
      readonly redone: boolean
    }
  /** Some message from `first` to `last` (offsets) failed. If they are one, it is charged. */
  | { readonly outcome: 'failed'; readonly first: number; readonly last: number; readonly failure: Failure }
  /** Position, parked keys or handled ids differ from what was assumed. `isHeld`: one of its keys may have been held meanwhile, so a smaller one meets less. */
  | { readonly outcome: 'reload'; readonly isHeld: boolean }
  /** The breaker is open: it was not the messages' fault. */
  | { readonly outcome: 'held'; readonly failure: Failure }
  /** What waits behind parked keys has reached its bounds. */
  | { readonly outcome: 'full' }
  /** Deadlock or serialisation failure. */
  | { readonly outcome: 'conflict'; readonly failure: Failure }
  /** The database is away, or what a codec needs, or the commit's outcome is unknown. */
  | { readonly outcome: 'unavailable'; readonly failure: Failure }
  /** The connection to the database broke while handlers ran: most often it is away, but a statement can end its own connection, too. */
  | { readonly outcome: 'lost'; readonly failure: Failure }
  /** The partition was given up while it ran. */
  | { readonly outcome: 'dropped' }
