import type { AuditEntry } from '../operation/audit.ts'

/**
 * What an operator sees of the outbox and may do to it. Every method works while relays run.
 *
 * @module
 */

/** One relay stream, as its row says. */
export interface StreamStatus {
  readonly stream: number
  readonly streams: number
  readonly sourceEpoch: string
  readonly generation: number
  readonly epoch: number
  readonly tick: number
  /** The last tick is published to its end. */
  readonly finished: boolean
  readonly owner: string | null
  /** Since the owner was last heard of, by the database's clock. */
  readonly silentMs: number
  readonly publishedAt: Date | null
  /** Committed rows that no finished tick has. Counted up to 100,000. */
  readonly unpublished: number
  /** Age of the oldest of them. */
  readonly oldestUnpublishedMs: number | null
  readonly parkedKeys: number
  readonly heldMessages: number
  /** Why the database is taken for a copy, if it is. */
  readonly moved: string | null
}

export interface OutboxStatus {
  readonly streams: readonly StreamStatus[]
  /** Numbers that can be drawn before publishers fail, if no relay makes partitions. */
  readonly rowsLeft: number
  readonly partitions: readonly { readonly name: string; readonly lo: number; readonly hi: number; readonly state: string }[]
  readonly discarded: number
}

/** A key held back by the relay. */
export interface ParkedKey {
  readonly aggregateType: string
  readonly aggregateId: string
  readonly stream: number
  /** Number and id of the message the broker refused. */
  readonly seq: number
  readonly id: string | null
  readonly reason: string
  readonly parkedAt: Date
  /** Messages held back, the refused one included. */
  readonly held: number
  /** Released; the next tick sends them. */
  readonly releasing: boolean
}

export interface KeyRef {
  readonly aggregateType: string
  readonly aggregateId: string
}

export interface DiscardOptions {
  /** Who decides it. */
  readonly actor: string
  /** @default 'the broker refused it' */
  readonly reason?: string
  /** Every held message of the key, not the refused one alone. @default false */
  readonly all?: boolean
  /** A line of the audit log that is stored in the same transaction, if something is discarded; with how many. @default none */
  readonly audit?: AuditEntry
}

export interface ReleaseOptions {
  /** Makes the line of the audit log for a key that is released; it is stored in the same transaction. @default none */
  readonly audit?: (key: KeyRef) => AuditEntry
}

export interface OutboxOperations {
  status(): Promise<OutboxStatus>

  /** Parked keys, the longest parked first. */
  parked(): Promise<readonly ParkedKey[]>

  /**
   * Lets the relay send what it held of these keys, in order and before anything newer of them, in its next tick. A message that is refused
   * again parks its key again. Returns the keys that were parked; a second call changes nothing.
   */
  release(keys: readonly KeyRef[], options?: ReleaseOptions): Promise<readonly KeyRef[]>

  /**
   * Gives up the refused message of a key for good, notes who did, and releases the rest. Returns how many messages were discarded: 0 when the
   * key is not parked, or is being released.
   */
  discard(key: KeyRef, options: DiscardOptions): Promise<number>

  /** What a rebase starts from. Changes nothing. */
  rebasePlan(): Promise<RebasePlan>

  /**
   * In one transaction: begins a new life of the source, makes this server and database the streams' own, and has the next tick leave out the
   * ids that are on the wire. `fromDump`: the rows were restored from a dump, so that their transaction ids mean nothing here.
   */
  rebase(skip: ReadonlyMap<number, readonly string[]>, options: { readonly fromDump: boolean }): Promise<void>
}

/** One stream's last certain state. */
export interface RebaseStream {
  readonly stream: number
  readonly generation: number
  /** Messages of later ticks, and of this one if `unfinished`, may be on the wire. */
  readonly tick: number
  readonly unfinished: boolean
}

export interface RebasePlan {
  readonly sourceEpoch: string
  readonly streams: readonly RebaseStream[]
  /** Nothing after the streams' state was sent before this time. */
  readonly since: Date
  /** Topics written to, and those of rows that wait. */
  readonly topics: readonly string[]
  /** The rows carry transaction ids that this server has not come to: they are from a dump. */
  readonly foreignXids: boolean
}
