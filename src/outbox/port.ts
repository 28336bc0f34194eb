import type { OutboxMessage } from '../message/outbox-message.ts'
import type { Transaction } from '../message/transaction.ts'

/**
 * What the outbox needs of a database. Written to the implementer: the order of the steps, what a second call does, and what must be one
 * transaction are the contract; `conformance` checks them.
 *
 * @module
 */

/** A message as it stands in the outbox, with the number that orders it. */
export interface OutboxRow extends OutboxMessage {
  readonly seq: number
  readonly createdAt: Date
}

export interface OutboxStore {
  /**
   * Adds messages at the end of the caller's open transaction: first the locks of all their keys, sorted, then the rows in the given order,
   * so that within one key the numbers rise in commit order. Nothing is visible to a relay before that transaction commits.
   */
  append(tx: Transaction, messages: readonly OutboxMessage[]): Promise<void>

  /** Opens the relay's side of a stream, on a connection of its own. Nothing is changed before `takeOver`. */
  openStream(stream: number): Promise<RelayStream>
}

/** Which rows a tick publishes: those visible in `cur` and not in `prev`. Snapshots are Postgres' `pg_snapshot` as text, opaque here. */
export interface Tick {
  readonly generation: number
  readonly tick: number
  readonly prev: string
  readonly cur: string
  /** Smallest number of the rows of transactions newer than `prev`; older rows come from the transactions it lists as running. */
  readonly floorNew: string
  /** Everything of this tick up to and including this number is published. */
  readonly doneSeq: string
}

export interface RelayState {
  readonly epoch: number
  /** `<source id>.<number>`; the coordinate's first part. */
  readonly sourceEpoch: string
  readonly generation: number
  readonly stream: number
  readonly tick: number
  /** The tick that is not published to its end, to be gone on with; `null` when all is. */
  readonly unfinished: Tick | null
  /** The server or database is not the one this stream was kept in: it was copied or restored. Says which. */
  readonly moved: string | null
}

/**
 * The relay's side of one stream. Every method is a transaction of its own and, but for `takeOver`, acts only while the caller's epoch is the
 * stored one. A rejection leaves the outcome unknown: the caller closes the stream, opens it anew and takes over.
 */
export interface RelayStream {
  /** Raises the epoch and returns the stored state. Whoever held the stream before is fenced from here on. */
  takeOver(): Promise<RelayState>

  /** Is there a row outside the last tick's snapshot? Reads only. */
  probe(): Promise<boolean>

  /**
   * Stores the next tick: new snapshot, exact floors, released parked rows. `null` when it found nothing; `'fenced'` when the epoch is not ours.
   * Durable when it resolves, whatever the session's `synchronous_commit`.
   */
  tick(): Promise<Tick | null | 'fenced'>

  /**
   * The next rows of the tick after `doneSeq`, by number, at most `limit`; the same rows for the same arguments, in every life of the relay.
   * Rows of keys held back (parked in the relay) are left out, but count for `last` and `full`.
   */
  page(tick: Tick, limit: number): Promise<OutboxPage>

  /** Notes that the tick is published up to `doneSeq`, and whether that was its end. `false`: fenced, stop. */
  checkpoint(tick: Tick, doneSeq: string, finished: boolean): Promise<boolean>

  /** Parks the keys of refused rows from those rows on, in the transaction that notes the refusal. `false`: fenced. */
  park(tick: Tick, refused: readonly { readonly row: OutboxRow; readonly reason: string }[]): Promise<boolean>

  /** Gives the connection back. */
  close(): Promise<void>
}

export interface OutboxPage {
  readonly rows: readonly OutboxRow[]
  /** The number up to which the page reached, held rows included. */
  readonly last: string
  /** There may be more after it. */
  readonly full: boolean
}
