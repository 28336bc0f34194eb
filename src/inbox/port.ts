import type { Transaction } from '../message/transaction.ts'

/**
 * What the inbox can tell, and what the idempotency-key ledger needs of the service's database: entries that change by compare-and-set, each change committed by itself
 * before the call it is about goes on.
 *
 * @module
 */

/** How far the inbox and the dead letters of some groups reach back. */
export interface InboxState {
  /** Every id that was handled since then is remembered, milliseconds since 1970; `null`: none was ever forgotten. */
  readonly rememberedSince: number | null
  /** Those of the groups asked for that have ids in the inbox: messages without a coordinate reach them. */
  readonly groupsWithIds: readonly string[]
  /** When the log took the oldest dead letter without a coordinate of these groups, where that is before `rememberedSince`; else `null`. */
  readonly oldestForgottenLetter: number | null
}

export interface InboxStore {
  /** As in `InboxState`. Reads next to nothing. */
  rememberedSince(): Promise<number | null>

  /** One look, which changes nothing. */
  state(groups: readonly string[]): Promise<InboxState>
}

/** What an entry is about: one step of one message for one scope (a group, or a caller). Each part at most 300 characters. */
export interface LedgerKey {
  readonly scope: string
  /** Of the message, or what a client of an API names its request. */
  readonly identity: string
  readonly step: string
}

/** What is kept of an answer. `none`: there was none. `too large`: there was one, and it was not kept. */
export interface StoredResponse {
  readonly format: 'none' | 'json' | 'bytes' | 'http' | 'too large'
  readonly body: Buffer
}

export interface LedgerEntry {
  /** Changes with every claim, and none is used twice. Whoever changes the entry names the one he knows. */
  readonly token: string
  /** `in progress` with a lease that is over says as little of the outcome as `unknown`: its owner has crashed, or stands still. */
  readonly state: 'in progress' | 'done' | 'unknown'
  /** By the store's clock; 0 or less: over. */
  readonly leaseLeftMs: number
  /** Nobody needs it any more, and it may go at any time. */
  readonly isExpired: boolean
  /** How often the call was begun. */
  readonly attempts: number
  /** Of what was asked, to tell another request with the same identity; `null`: not compared. */
  readonly fingerprint: string | null
  /** Of an entry that is `done`. */
  readonly response: StoredResponse | null
}

export interface LedgerClaim {
  readonly fingerprint: string | null
  readonly leaseMs: number
  /** How long the entry is kept if nobody ends it; `null`: until somebody does. */
  readonly keepMs: number | null
}

export type LedgerChange =
  /** Takes the entry over for another call, under a new token. */
  | { readonly to: 'in progress'; readonly claim: LedgerClaim }
  /** The lease begins anew. */
  | { readonly to: 'renewed'; readonly leaseMs: number }
  | { readonly to: 'done'; readonly response: StoredResponse; readonly keepMs: number }
  /** The lease is over. */
  | { readonly to: 'unknown' }

/** How many entries there are. */
export interface LedgerCount {
  readonly scope: string
  /** `unknown` counts those in progress whose lease is over. */
  readonly state: 'in progress' | 'done' | 'unknown'
  readonly entries: number
}

/**
 * Every call takes effect by itself, durably, before it resolves: never in a transaction of its caller's, unless one is given. Rejects with
 * `DATABASE_UNREACHABLE` or `DATABASE_CONNECTION_LOST`; a change whose reply was lost may have happened.
 */
export interface LedgerStore {
  /** Makes the entry, in progress, unless there is one. Of two at once exactly one makes it. Returns what is there. */
  begin(key: LedgerKey, claim: LedgerClaim): Promise<{ readonly entry: LedgerEntry; readonly isMade: boolean }>

  /**
   * Changes the entry if its token is this one and it is not done; one that is done and expired can be taken over. `null`: it is not so, and nothing
   * happened. `done` may be asked for inside a transaction of the same database, to commit with what was done there.
   */
  change(key: LedgerKey, token: string, change: LedgerChange, tx?: Transaction): Promise<LedgerEntry | null>

  /** Removes the entry as if nobody had begun, if its token is this one and it is not done. */
  remove(key: LedgerKey, token: string): Promise<boolean>

  /** Removes up to `limit` expired entries. Returns how many. */
  forget(limit: number): Promise<number>

  counts(): Promise<readonly LedgerCount[]>
}
