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
  append(tx: Transaction, messages: readonly OutboxMessage[], options?: AppendHints): Promise<void>

  /** How many committed messages wait to be published, those of parked keys left out. Exact up to 1,000 and when it is 0. Reads only. */
  pending(): Promise<number>

  /** What waits for somebody to release or discard it, since the broker refused a message. Reads only. */
  heldBack(): Promise<HeldBack>

  /** Opens the relay's side of a stream, on a connection of its own. Nothing is changed before `takeOver`. */
  openStream(stream: number): Promise<RelayStream>

  /** Makes partitions ahead and drops old ones, until stopped. Run beside a stream by its owner; absent where there are none. */
  maintain?(options: MaintenanceOptions): Maintenance
}

/** Counts of what is held back. */
export interface HeldBack {
  /** Of which the broker refused a message. */
  readonly keys: number
  /** The refused ones, and those that wait behind them. Counted once the tick has gone past them. */
  readonly messages: number
}

/** What an append may be told. */
export interface AppendHints {
  /** The caller holds a row lock that orders the writers of these keys, to the end of its transaction. @default false */
  readonly keyLocked?: boolean
}

export interface MaintenanceOptions {
  /** Called with what was done and what failed. */
  readonly onEvent: (event: MaintenanceEvent) => void
}

/** A background job. */
export interface Maintenance {
  /** Ends the step under way and returns the connection. */
  stop(): Promise<void>
}

export type MaintenanceEvent =
  | { readonly kind: 'partition'; readonly change: 'made' | 'sealed' | 'dropped'; readonly name: string }
  | { readonly kind: 'maintenance-failed'; readonly error: unknown }
  /** Fewer partitions are ready than wanted: publishers fail when the last one is full. */
  | { readonly kind: 'partitions-low'; readonly rowsLeft: number }

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
  /** It takes along rows that were held back. */
  readonly releasing: boolean
  /** Some of its rows were on the wire before the database was restored, and are left out. */
  readonly skipping: boolean
}

/** Who wants a stream. */
export interface OwnerClaim {
  /** Names one life of one relay: a reconnecting owner takes its own stream at once. */
  readonly owner: string
  /** Another owner is left alone while it was heard of within this time, by the database's clock. */
  readonly leaseMs: number
}

export interface RelayState {
  readonly epoch: number
  /** `<source id>.<number>`; the coordinate's first part. */
  readonly sourceEpoch: string
  readonly generation: number
  readonly stream: number
  /** Of how many streams. */
  readonly streams: number
  readonly tick: number
  /** The last tick's snapshot: what is visible in it has been published, or will be by the unfinished tick. */
  readonly cur: string
  /** The tick that is not published to its end, to be gone on with; `null` when all is. */
  readonly unfinished: Tick | null
  /** Topics this stream has written to. */
  readonly topics: readonly string[]
  /** The server or database is not the one this stream was kept in: it was copied or restored. Says which. */
  readonly moved: string | null
  /** `false`: simple mode. Rows are deleted once published, and messages carry no coordinate. */
  readonly coordinates: boolean
}

/** What a probe saw. */
export interface Probed {
  /** A row outside the last tick's snapshot, or a parked key to release. */
  readonly rows: boolean
  /** Transactions begun in the server since that snapshot. */
  readonly passed: number
}

/**
 * The relay's side of one stream. Every method is a transaction of its own and, but for `takeOver`, acts only while the caller's epoch is the
 * stored one. A rejection leaves the outcome unknown: the caller closes the stream, opens it anew and takes over. One call at a time, except
 * for `beat`, and for what is asked for while a page is being sent: the `checkpoint` of the page before it, and then the `page` after it.
 */
export interface RelayStream {
  /**
   * Raises the epoch and returns the stored state; whoever held the stream before is fenced from here on. `null`, and nothing changed, while
   * another owner is alive.
   */
  takeOver(claim: OwnerClaim): Promise<RelayState | null>

  /** Is there anything to publish after the snapshot `cur`? Reads only. */
  probe(cur: string): Promise<Probed>

  /**
   * Stores the next tick: new snapshot, exact floors, held rows of released keys. `'nothing'` when it found nothing, unless `even` asks for it
   * all the same (the returned snapshot is then all there is to it: `tick` is `null`). `'fenced'` when the epoch is not ours.
   * Durable when it resolves, whatever the session's `synchronous_commit`.
   */
  tick(even: boolean): Promise<{ readonly cur: string; readonly tick: Tick | null } | 'nothing' | 'fenced'>

  /**
   * The next rows of the tick after `after`, by number, at most `limit`; the same rows for the same arguments, in every life of the relay.
   * Rows of parked keys are left out, but count for `last` and `full`.
   */
  page(tick: Tick, after: string, limit: number): Promise<OutboxPage>

  /**
   * Notes that the tick is published up to the end of `page`, and that its held rows are held. A page that is not full ends the tick.
   * `false`: fenced, stop.
   */
  checkpoint(tick: Tick, page: OutboxPage): Promise<boolean>

  /** Parks the keys of refused rows, each from its first such row on: later pages hold them. `false`: fenced. */
  park(tick: Tick, refused: readonly RefusedRow[]): Promise<boolean>

  /** Notes topics before the first message goes there. */
  noteTopics(topics: readonly string[]): Promise<void>

  /** Says that the owner lives. `false`: another one has taken over. */
  beat(): Promise<boolean>

  /** Ends the ownership, if there is one, so that a waiting relay takes over at once, and gives the connection back. Never rejects. */
  close(outcome: 'stopped' | 'broken'): Promise<void>
}

export interface OutboxPage {
  readonly rows: readonly OutboxRow[]
  /** Rows of parked keys, not to be sent now. */
  readonly held: readonly HeldRow[]
  /** The number up to which the page reached, held rows included. */
  readonly last: string
  /** There may be more after it. */
  readonly full: boolean
}

/** As much of a row as is needed to find it again. */
export type HeldRow = Pick<OutboxRow, 'seq' | 'id' | 'aggregateType' | 'aggregateId'>

export interface RefusedRow {
  readonly row: HeldRow
  readonly reason: string
}
