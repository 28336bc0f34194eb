import type { HighWater } from '../inbox/high-water.ts'
import type { OutboxMessage } from '../message/outbox-message.ts'
import type { LogRecord } from '../message/port.ts'
import type { Transaction } from '../message/transaction.ts'
import type { ParkedStore } from './parked-port.ts'

/**
 * What the consume loop needs of the service's database: positions that move in the handlers' own transaction, behind an epoch.
 * The protocol, its lock order and the reason of every comparison stand in `docs/design/consumer.md`.
 *
 * @module
 */

/** A topic as a group reads it. `topicId` is the broker's, so that a topic made anew is another one. */
export interface TopicRef {
  readonly group: string
  readonly topic: string
  readonly topicId: string
}

export interface PartitionRef extends TopicRef {
  readonly partition: number
}

export interface LaneRef extends PartitionRef {
  readonly lane: number
}

/** A place between two records of a partition. */
export interface LogPlace {
  readonly offset: number
  /** Of the broker's leader that wrote the record before it; `null` where that is not known, or the broker keeps no leader epochs. */
  readonly leaderEpoch: number | null
}

/** One lane's row, as read or as last written by its owner. */
export interface LanePosition {
  readonly lane: number
  readonly lanes: number
  readonly nextOffset: number
  /** Goes with `nextOffset`: see `LogPlace`. Never compared by the store. */
  readonly leaderEpoch: number | null
  readonly epoch: number
  /** Raised by whoever but the owner holds keys of the lane; which ones is noted for some minutes. */
  readonly holds: number
  readonly highWater: HighWater
  /**
   * So many messages from `nextOffset` on may have been under way when the former owner vanished, and one of them may be why. Told at a take-over only; 0: it left
   * in order.
   */
  readonly suspects: number
  /** Where the row stood when it was last seen. A hint for the store, to be handed back unread; `null`: not known. */
  readonly at: string | null
}

/** What an owner knows of a partition after taking it over: its lanes, and the keys that must queue (in wire bytes, base64). */
export interface PartitionState {
  readonly lanes: readonly LanePosition[]
  readonly parkedKeys: readonly string[]
}

/** What has happened in a lane behind its owner's back. Keys in wire bytes, base64. */
export interface LaneNews {
  readonly position: LanePosition
  readonly held: readonly string[]
  readonly released: readonly string[]
}

/** Where the partitions of a topic begin. */
export interface FirstPositions {
  readonly topic: TopicRef
  /** Number of lanes for partitions seen for the first time. The stored number wins. */
  readonly lanes: number
  /** Offset of each partition, where the group never read this topic. */
  readonly first: readonly number[]
  /** Offset of each partition, where it did, but never saw this partition. */
  readonly later: readonly number[]
}

export interface TakeOver {
  readonly partition: PartitionRef
  /** A transaction of the former owner that stands still for longer is ended. */
  readonly lockTimeoutMs: number
  /** At most so many messages of a lane will be under way at first; see `BatchEnd.inFlight`. @default 64 */
  readonly inFlight?: number
}

/** How a batch's end can go; only `committed` has an effect. */
export type CommitOutcome =
  /** All of it is durable. The lane's row now stands so. `held`: keys that others have held meanwhile (in wire bytes, base64), and that must queue from now on. */
  | { readonly outcome: 'committed'; readonly position: LanePosition; readonly held: readonly string[] }
  /**
   * The row is not as given: position or epoch differ, or a key of `ran` was held meanwhile, or nobody knows which ones were. Catch up, which tells which;
   * charge nobody.
   */
  | { readonly outcome: 'moved' }
  /** A key to append to was released meanwhile. Reload, run its messages; charge nobody. */
  | { readonly outcome: 'released' }
  /** More would wait behind the keys than `BatchEnd.bounds` allow. Nothing was done; later there may be room. */
  | { readonly outcome: 'full' }
  /** An id was handled by somebody else meanwhile: look the ids up again, run again, charge nobody. */
  | { readonly outcome: 'duplicate' }
  /**
   * The handlers left the transaction so that it cannot be committed: a deferred constraint, say, or a mode in which the store's own statements fail,
   * which without the handlers' do not. Some message is at fault.
   */
  | { readonly outcome: 'refused'; readonly error: unknown }

/** A message that goes to the dead letters, with everything known about it. */
export interface DeadLetter {
  readonly record: LogRecord
  readonly messageId: string | null
  readonly type: string | null
  readonly handler: string | null
  /** `block` parks the key behind it; a message without a key blocks nobody, so it is always `skip`. */
  readonly policy: 'block' | 'skip'
  readonly errorClass: string
  readonly reason: string
  readonly stack: string | null
  /** The first line of the stack that belongs to the user: where it was thrown. `null`: nothing is known of it. */
  readonly frame: string | null
  /** The same for all that died alike. */
  readonly fingerprint: string
  /** Charged runs, oldest first; of very many the first one and the last ones. */
  readonly attempts: readonly FailedAttempt[]
  /** How many there were. @default those of `attempts` */
  readonly retryCount?: number
  readonly codeVersion: string | null
}

/** A message that waits with its key until it is tried again. */
export interface Parking {
  readonly record: LogRecord
  readonly reason: string
  /** Charged runs, oldest first. None: it waits, and nobody is charged. */
  readonly attempts: readonly FailedAttempt[]
  /** Until it is tried again, in milliseconds. */
  readonly afterMs: number
}

/** How much may wait in the database, in bytes of keys, values and headers. */
export interface ParkedBounds {
  readonly bytesPerKey: number
  readonly bytesPerPartition: number
}

export interface FailedAttempt {
  /** Milliseconds since 1970. */
  readonly at: number
  readonly error: string
}

/** What one lane batch leaves behind. */
export interface BatchEnd {
  readonly position: LanePosition
  /** Keys of the messages that ran, or failed, or are given up: none of them may have been held since the position was read. */
  readonly ran: readonly Buffer[]
  /** The offset after the batch. */
  readonly nextOffset: number
  /** Goes with it. */
  readonly leaderEpoch: number | null
  /** As it stands after the batch. */
  readonly highWater: HighWater
  /** Dedup identities of the handled messages that no high water covers, to remember. Sorted by the store. */
  readonly handled: readonly string[]
  /** Messages of parked keys, to queue behind their key. */
  readonly queue: readonly LogRecord[]
  /** Messages that have failed, each with its key. Those of one key behind it are in `queue`. */
  readonly park: readonly Parking[]
  readonly deadLetters: readonly DeadLetter[]
  readonly bounds: ParkedBounds
  /** At most so many messages from `nextOffset` on will be under way in the batch to come: whoever finds this owner gone suspects those. */
  readonly inFlight: number
  /** What the handlers published, in order. */
  readonly publish: readonly OutboxMessage[]
}

/** An open transaction in which handlers run. Ends by a commit or by `rollBack`, either of which gives the connection back. */
export interface HandlerTransaction {
  /** What handlers see. Statements asked for in the same turn share a round trip, in the order of the calls. */
  readonly tx: Transaction

  /** Which of these identities the group has handled before. */
  alreadyHandled(identities: readonly string[]): Promise<ReadonlySet<string>>

  /** Whether the transaction can still be committed, after everything asked so far. `failed`: a statement failed and was not undone by a savepoint. */
  status(): Promise<'open' | 'failed' | 'none'>

  /**
   * Who is to blame for what a handler threw: `conflict` is a deadlock or a serialisation failure, `lost` the connection; neither is charged to
   * the message.
   */
  blame(error: unknown): 'handler' | 'conflict' | 'lost'

  /** Remembers this place, for `undo`. A later mark takes the place of it. If it fails, so does whatever follows. */
  mark(): void

  /** Undoes everything since the last mark, also in a transaction that has failed. `false`: that is not possible any more. */
  undo(): Promise<boolean>

  /**
   * Never rejects: a connection that cannot roll back is closed, which rolls back too. `at once`: without waiting for statements under way, by
   * closing the connection.
   */
  rollBack(how?: 'at once'): Promise<void>
}

/** The transaction of one lane batch. No row of ours is locked by it before `commit`. */
export interface BatchTransaction extends HandlerTransaction {
  /**
   * In this order, in one round trip where it can be: a time limit for standing still; what was published; the compare-and-set of epoch and next
   * offset, and, where holds differ, of the keys that were held since with those that ran; the queue's key rows locked by key, and the messages appended; what is parked; the dead letters; the bounds; the handled ids; the
   * commit.
   * Anything but `committed` has rolled back. Rejects with `COMMIT_UNKNOWN` when the reply was lost (resolved by reading the position back);
   * else nothing was committed, and the error says why: `blame` knows conflicts, everything else is no fault of a message.
   */
  commit(end: BatchEnd): Promise<CommitOutcome>
}

export interface ConsumerStore {
  /** All positions of a group: the smallest next offset of each partition. */
  positions(group: string): Promise<readonly PartitionPosition[]>

  /**
   * Makes the rows of all partitions of a topic that have none, in one transaction. What is there stays. Safe by two processes at once: only one
   * of them sees a group that never read the topic.
   */
  makePositions(first: FirstPositions): Promise<void>

  /**
   * Makes this process the owner: in one transaction locks the partition's rows by lane, raises every epoch, and, in a later statement, reads
   * the parked keys. A frozen former owner is got rid of after `lockTimeoutMs`, and whatever batches former owners have open may be ended: they
   * cannot commit any more, and may hold rows locked. No lanes: the partition has no rows.
   */
  takeOver(request: TakeOver): Promise<PartitionState>

  /** A lane's row, and then, in a second statement, the partition's parked keys. Takes no lock. `null`: no such row. */
  reload(lane: LaneRef): Promise<{ readonly position: LanePosition; readonly parkedKeys: readonly string[] } | null>

  /**
   * The same for an owner who knows most of it: the row, and then, in a second statement, which keys were held since `known` was read, and which of
   * `waiting` wait no more. `null` where that does not tell all there is: then `reload` does.
   */
  catchUp(lane: LaneRef, known: LanePosition, waiting: readonly string[]): Promise<LaneNews | null>

  /** Moves idle lanes forward, never back, where the epoch is still ours. One statement. Returns the lanes that moved, as they stand now. */
  advance(partition: PartitionRef, targets: readonly AdvanceTarget[]): Promise<readonly LanePosition[]>

  /** Replaces all lanes of a partition by `count` new ones at a place, above every old epoch, in one transaction. `'fenced'` if any row is not as given. */
  replaceLanes(partition: PartitionRef, from: readonly LanePosition[], count: number, at: LogPlace): Promise<PartitionState | 'fenced'>

  /** Opens a transaction for a lane's batch. */
  begin(lane: LaneRef): Promise<BatchTransaction>

  /**
   * Notes that this message is about to run, and commits that by itself: whoever finds it noted so often, and not done, knows that its owner vanished so often
   * while it ran. Returns how often it was noted, this time included, and where the row stands now; `null`: the row is not as given.
   */
  mark(lane: LaneRef, position: LanePosition, offset: number): Promise<{ readonly marks: number; readonly at: string | null } | null>

  /** Takes one note back, where the epoch is still the owner's: the message was run, and whoever ran it lives. */
  unmark(lane: LaneRef, position: LanePosition, offset: number): Promise<void>

  /** Notes that these lanes' owner leaves in order, where the epoch is still his. */
  giveBack(partition: PartitionRef, lanes: readonly { readonly lane: number; readonly epoch: number }[]): Promise<void>

  /** What waits behind parked keys, and who tries it again. */
  readonly parked: ParkedStore

  /** Empties the oldest part of the inbox if its time has come. Called now and then by every consumer. */
  forgetHandled(retentionMs: number): Promise<void>
}

export interface PartitionPosition {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly nextOffset: number
}

export interface AdvanceTarget extends LogPlace {
  readonly lane: number
  readonly epoch: number
}
