import type { ConsumerCounts } from './tally.ts'

/** A running consumer. */
export interface Consumer {
  /**
   * Ends what is in flight (for at most `drainMs`), stores how far idle lanes are, leaves the group. Nothing of it is left afterwards, except
   * handlers that did not end in time; their work is rolled back. A second call waits for the first.
   */
  stop(): Promise<void>

  /**
   * Resolves when the consumer has stopped. Rejects with what made it stop by itself: `OFFSET_OUT_OF_RANGE`, `TOPIC_MISMATCH`, or whatever
   * broker or database say can not be helped by trying again. It has released everything by then.
   */
  readonly done: Promise<void>

  status(): ConsumerStatus

  /**
   * Every message of the partition before this offset is done by this process: handled, queued behind its key, dead, or not wanted. `null` when
   * the partition is not ours.
   */
  settledUpTo(topic: string, partition: number): number | null

  /** Stores how far idle lanes are, now rather than within `idleAdvanceMs`. */
  advance(): void

  /**
   * Gives every partition that this process owns, or comes to own, another number of lanes; stored, so that it outlives the process. Order per
   * key holds. Throws `CONFIG_INVALID` for anything but a whole number from 1 on.
   */
  changeLanes(count: number): void

  [Symbol.asyncDispose](): Promise<void>
}

export interface ConsumerStatus {
  readonly state: 'starting' | 'running' | 'stopping' | 'stopped'
  readonly counts: ConsumerCounts
  readonly partitions: readonly PartitionStatus[]
  /** Why the consumer stands still: many keys of one handler fail alike. `null`: it does not. */
  readonly breaker: { readonly handler: string; readonly errorClass: string } | null
  /** The last trouble with database or broker that was met, if any since the last committed batch. */
  readonly trouble: string | null
}

export interface PartitionStatus {
  readonly topic: string
  readonly partition: number
  readonly phase: 'taking' | 'owned' | 'draining' | 'released'
  readonly lanes: number
  /** Messages read and not done yet. */
  readonly queued: number
  readonly settledUpTo: number | null
  readonly parkedKeys: number
  /** A lane stands still, since so much waits behind its parked keys. */
  readonly full: boolean
}
