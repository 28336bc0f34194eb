import type { OutboxMessage } from '../message/outbox-message.ts'
import type { LogRecord } from '../message/port.ts'
import type { Transaction } from '../message/transaction.ts'

/**
 * What the consume loop needs of the service's database: positions that move in the handlers' own transaction, behind an epoch.
 * The protocol, its lock order and the reason of every comparison stand in `docs/design/consumer.md`.
 *
 * @module
 */

/** A partition as a group reads it. `topicId` is the broker's, so that a topic made anew is another one. */
export interface PartitionRef {
  readonly group: string
  readonly topic: string
  readonly topicId: string
  readonly partition: number
}

export interface LaneRef extends PartitionRef {
  readonly lane: number
}

/** One lane's row, as read or as last written by its owner. */
export interface LanePosition {
  readonly lane: number
  readonly lanes: number
  readonly nextOffset: number
  readonly epoch: number
  /** Raised by whoever but the owner parks or holds a key of the lane. */
  readonly holds: number
}

/** What an owner knows of a partition after taking it over: its lanes, and the keys that must queue (in wire bytes, base64). */
export interface PartitionState {
  readonly lanes: readonly LanePosition[]
  readonly parkedKeys: readonly string[]
}

export interface TakeOver {
  readonly partition: PartitionRef
  /** Number of lanes for a partition seen for the first time. The stored number wins. */
  readonly lanes: number
  /** Where a partition seen for the first time begins. */
  readonly startOffset: number
  /** A transaction of the former owner that stands still for longer is ended. */
  readonly lockTimeoutMs: number
}

/** The five ways a batch's end can go; only `committed` has an effect. */
export type CommitOutcome =
  /** All of it is durable. */
  | 'committed'
  /** Another owner took over: forget the partition. */
  | 'fenced'
  /** The position or the holds differ: reload, run again, charge nobody. */
  | 'moved'
  /** A key to append to was released meanwhile: drop it from the set, run its messages. */
  | 'released'
  /** An id was handled by somebody else meanwhile: look the ids up again, run again, charge nobody. */
  | 'duplicate'

/** A message that goes to the dead letters, with everything known about it. */
export interface DeadLetter {
  readonly record: LogRecord
  readonly messageId: string | null
  readonly type: string | null
  readonly handler: string | null
  readonly policy: 'block' | 'skip'
  readonly errorClass: string
  readonly reason: string
  readonly stack: string | null
  readonly attempts: readonly { readonly at: Date; readonly error: string }[]
  readonly codeVersion: string | null
}

/** What one lane batch leaves behind. */
export interface BatchEnd {
  readonly position: LanePosition
  /** The offset after the batch. */
  readonly nextOffset: number
  /** Dedup identities of the handled messages, to remember. Sorted by the store. */
  readonly handled: readonly string[]
  /** Messages of parked keys, to queue behind their key. */
  readonly queue: readonly LogRecord[]
  readonly deadLetter: DeadLetter | null
  /** What the handlers published, in order. */
  readonly publish: readonly OutboxMessage[]
}

/** An open transaction of one lane batch. Ends by `commit` or `rollBack`, either of which gives the connection back. */
export interface BatchTransaction {
  /** What handlers see. Statements asked for in the same turn share a round trip, in the order of the calls. */
  readonly tx: Transaction

  /** Which of these identities the group has handled before. */
  alreadyHandled(group: string, identities: readonly string[]): Promise<ReadonlySet<string>>

  /** Whether the transaction can still be committed, after everything asked so far. `failed`: a statement failed and was not undone by a savepoint. */
  status(): Promise<'open' | 'failed' | 'none'>

  /**
   * In this order, in one round trip where it can be: a time limit for standing still; the compare-and-set of epoch, next offset and holds;
   * the queue's key rows locked by key, and the messages appended; the dead letter; the handled ids; what was published; the commit.
   * Anything but `committed` has rolled back. Rejects with `COMMIT_UNKNOWN` when the reply was lost (resolved by reading the position back).
   */
  commit(end: BatchEnd): Promise<CommitOutcome>

  rollBack(): Promise<void>
}

export interface ConsumerStore {
  /**
   * Makes this process the owner: in one transaction locks the partition's rows by lane (making them if there are none), raises every epoch,
   * and, in a later statement, reads the parked keys. A frozen former owner is got rid of after `lockTimeoutMs`.
   */
  takeOver(request: TakeOver): Promise<PartitionState>

  /** A lane's row, and then, in a second statement, the parked keys. Takes no lock. `null`: no such row. */
  reload(lane: LaneRef): Promise<{ readonly position: LanePosition; readonly parkedKeys: readonly string[] } | null>

  /** Moves idle lanes forward, never back, where the epoch is still ours. One statement. Returns the lanes that moved. */
  advance(partition: PartitionRef, targets: readonly { readonly lane: number; readonly epoch: number; readonly offset: number }[]): Promise<readonly number[]>

  /** Replaces all lanes of a partition by `count` new ones at `offset`, above every old epoch, in one transaction. `'fenced'` if any row is not as given. */
  replaceLanes(partition: PartitionRef, from: readonly LanePosition[], count: number, offset: number): Promise<PartitionState | 'fenced'>

  /** Opens a transaction for a lane's batch. No row is locked by it before `commit`. */
  begin(lane: LaneRef): Promise<BatchTransaction>

  /** All positions of a group, for lag and settling: the smallest next offset of each partition. */
  positions(group: string): Promise<readonly (PartitionRef & { readonly nextOffset: number })[]>
}
