import type { OutboxMessage } from '../message/outbox-message.ts'
import type { LogRecord } from '../message/port.ts'
import type { DeadLetter, FailedAttempt, HandlerTransaction, PartitionRef } from './port.ts'

/**
 * What a retrier needs of the service's database. It owns a key by a lease whose token is never used again, not by a lock: the handlers run first; then, at the
 * end of their transaction, the rows of their keys are locked, and in later statements the tokens and the heads are compared. Steps and reasons:
 * `docs/design/consumer.md`.
 *
 * @module
 */

/** A message that waits. */
export interface ParkedRecord {
  readonly record: LogRecord
  /** The dead letter that it was before it was redriven. */
  readonly letterId: string | null
}

/** A key with the right to work on it, until the lease is over. */
export interface LeasedKey {
  readonly partition: PartitionRef
  /** As in the key's row. A message without a key waits under one that was made up. */
  readonly key: Buffer
  readonly token: string
  /** Charged runs of its head. */
  readonly attempts: number
  /** What is kept of them. */
  readonly failures: readonly FailedAttempt[]
  /** How often whoever had the lease vanished since somebody has last run the head to an end. */
  readonly crashes: number
  /** The head and what follows it, in order; none of them dead. Never empty. */
  readonly messages: readonly ParkedRecord[]
}

export interface LeaseRequest {
  readonly group: string
  /** Ids of the topics whose messages this process can handle. */
  readonly topicIds: readonly string[]
  readonly keys: number
  /** Beyond so many keys, only as many as have no more than so many bytes waiting behind all of them together. */
  readonly beyond: { readonly keys: number; readonly bytes: number }
  /** Besides, so many keys whose last holder vanished, or one before him. */
  readonly suspects: number
  readonly leaseMs: number
  /** Of each key; its head in any case. */
  readonly maxMessages: number
  readonly maxBytes: number
}

/** What a retrier's transaction leaves behind. */
export interface RetryEnd {
  /** How many messages of each key are done, from its head on. In the order of the keys; nothing is asked of one with none, and it stays leased. */
  readonly done: readonly number[]
  /** Dedup identities to remember. Sorted by the store. */
  readonly handled: readonly string[]
  readonly publish: readonly OutboxMessage[]
}

export type RetryOutcome =
  | { readonly outcome: 'committed' }
  /** The lease of one of them is somebody else's, or the key is gone; or its head is not what ran, since something was redriven. Nobody is charged. */
  | { readonly outcome: 'moved' }
  | { readonly outcome: 'duplicate' }
  /** As in `CommitOutcome`. */
  | { readonly outcome: 'refused'; readonly error: unknown }

export interface RetryTransaction extends HandlerTransaction {
  /**
   * What was published; the rows of the keys locked, by partition and hash, and their tokens compared; in later statements the heads compared, the messages
   * deleted, and the keys deleted or given back; the handled ids; the commit. No position's row is touched: the owner learns of a release when it next appends.
   */
  commit(end: RetryEnd): Promise<RetryOutcome>
}

/** What became of the head after a failure. */
export type HeadFailure =
  | {
      readonly do: 'park'
      /** Charged runs so far. */
      readonly charged: number
      /** What is kept of them. */
      readonly attempts: readonly FailedAttempt[]
      readonly reason: string
      readonly afterMs: number
    }
  /** `publish`: goes into the outbox with it. */
  | { readonly do: 'bury'; readonly letter: DeadLetter; readonly publish: readonly OutboxMessage[] }

/**
 * Keys that wait in more than one partition of a topic: it got more partitions, or its senders do not agree on the partition of a key. Each partition
 * tries them again by itself, so what waits in one is not ordered after what waits in the other.
 */
export interface SplitKeys {
  readonly topic: string
  readonly topicId: string
  /** How many. Messages without a key are none. */
  readonly keys: number
  /** Where any of them waits; rising. */
  readonly partitions: readonly number[]
  /** Some of them, at most five. */
  readonly examples: readonly SplitKey[]
}

export interface SplitKey {
  /** Wire bytes. */
  readonly key: Buffer
  /** Rising. */
  readonly partitions: readonly number[]
}

export interface ParkedStore {
  /** Leases keys that are due; each to one retrier, and none without a message that can be tried. In no order. */
  lease(request: LeaseRequest): Promise<readonly LeasedKey[]>

  /** Opens a transaction for the heads of some keys of one group, or more of their messages. No row of ours is locked by it before `commit`. */
  begin(keys: readonly LeasedKey[]): Promise<RetryTransaction>

  /** Notes a failure of the head, and gives the key back. `false`: the lease, or the head, is another one now, and nothing was noted. */
  failed(key: LeasedKey, failure: HeadFailure): Promise<boolean>

  /** Has the leases of these keys last so long from now. Those that are lost stay so. */
  renew(keys: readonly LeasedKey[], leaseMs: number): Promise<void>

  /**
   * Gives keys back, due after so long. `tried`: their messages ran to an end, and whoever ran them lives to tell, so that no crash is held against them any more.
   * `untried`: they are as they were. Keys whose lease is lost stay as they are.
   */
  giveBack(keys: readonly LeasedKey[], how: 'tried' | 'untried', afterMs: number): Promise<void>

  /** Takes back one charge of each of these keys, and makes them due: it was not their fault. Keys in wire bytes. */
  refund(partition: PartitionRef, keys: readonly Buffer[]): Promise<void>

  /** Messages of the group that wait and will run: those behind dead letters, and of keys that somebody holds, do not count. */
  waiting(group: string): Promise<number>

  /** Keys of the group that wait in more than one partition of their topic, those behind dead letters included; by topic. Reads every key that waits. */
  splitKeys(group: string): Promise<readonly SplitKeys[]>
}
