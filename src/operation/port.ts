import type { Transaction } from '../message/transaction.ts'
import type { AuditEntry, AuditRecord } from './audit.ts'
import type { FrozenItem, Item, ItemOutcome, ItemResult, Operation, OperationState } from './operation.ts'

/**
 * What operations and the audit log need of the service's database. Written to the implementer; `conformance` checks it.
 *
 * @module
 */

/** An operation that was planned. */
export type NewOperation = Pick<Operation, 'id' | 'kind' | 'params' | 'settings' | 'planned' | 'actor' | 'reason'>

export interface OperationFilter {
  readonly states?: readonly OperationState[]
  readonly kinds?: readonly string[]
  /** @default 50 */
  readonly limit?: number
}

export interface ItemFilter {
  readonly outcomes?: readonly ItemOutcome[]
  /** Behind this place. @default from the first on */
  readonly after?: number
  /** @default 100 */
  readonly limit?: number
}

export interface AuditFilter {
  readonly actor?: string
  readonly verb?: string
  readonly target?: { readonly type: string; readonly id?: string }
  readonly outcome?: AuditEntry['outcome']
  /** Written at this moment or later. */
  readonly from?: Date
  /** Not this moment itself. */
  readonly to?: Date
  /** Older than the line with this id: the next page. */
  readonly before?: number
  /** @default 100 */
  readonly limit?: number
}

/** Append-only. Nobody changes or removes a line by this port; a driver refuses it by other ways as far as it can. */
export interface AuditStore {
  record(entry: AuditEntry): Promise<void>
  /** Newest first. */
  listAudit(filter: AuditFilter): Promise<readonly AuditRecord[]>
}

/** What an operator wants of an operation. */
export type OperationWish = 'confirm' | 'pause' | 'resume' | 'cancel'

/** Who asks for an operation to work on. */
export interface ClaimRequest {
  /** Names one life of one runner. */
  readonly runner: string
  readonly kinds: readonly string[]
  /** This one alone. */
  readonly id?: string
  /** Not these. */
  readonly except?: readonly string[]
  /** How long nobody else takes it without hearing from the runner, by the database's clock. */
  readonly leaseMs: number
}

export interface OperationStore extends AuditStore {
  /** Stores it as `planned`, with the audit line, in one transaction. */
  create(operation: NewOperation, audit: AuditEntry): Promise<void>
  get(id: string): Promise<Operation | null>
  /** Newest first. */
  list(filter: OperationFilter): Promise<readonly Operation[]>
  /** In the order of their places. */
  items(id: string, filter: ItemFilter): Promise<readonly Item[]>

  /**
   * `confirm`: planned → freezing. `pause`: freezing, running → paused. `resume`: paused, failed → freezing or running. `cancel`: everything that is
   * not done or cancelled. Takes the lease away, so that whoever worked on it commits nothing from here on, and stores the audit line in the same
   * transaction. Returns it as it is now; `null` where it is not in such a state, or not there: nothing has changed then.
   */
  change(id: string, wish: OperationWish, audit: AuditEntry): Promise<Operation | null>

  /**
   * Takes the oldest operation that is freezing or running and free: no lease, one that has run out, or one of this very runner. The token comes
   * from a sequence and is never used again. `null`: there is none. Operations that others hold locked are passed over, not waited for.
   */
  claim(request: ClaimRequest): Promise<OperationLease | null>

  /**
   * Removes one operation that ended longer ago than this, by the database's clock, with its items. Returns whether there was one. The audit log stays.
   */
  forget(keepMs: number): Promise<boolean>
}

/**
 * One process's hold on an operation. Every method but `pending` and `started` is one transaction that commits only while the token is the stored one and
 * the state has not been changed by others; `false` or `'fenced'` otherwise, and nothing was changed. Each commit makes the lease last `leaseMs` from
 * then on. After a rejection the outcome is unknown: give it up and claim again.
 */
export interface OperationLease {
  /** As it was when it was claimed. */
  readonly operation: Operation
  readonly token: number

  /** Makes it last. */
  renew(): Promise<boolean>

  /** Removes what was frozen so far, to begin anew. */
  clear(): Promise<boolean>
  /** Adds items behind those that are there. */
  freeze(items: readonly FrozenItem[]): Promise<boolean>
  /** The set is complete: from here on it is `running`. Returns how many there are. */
  frozen(): Promise<number | 'fenced'>

  /** The next items, from the place `next` on: `limit`, and then the rest of the last one's group while there are fewer than 1,000 of them. */
  pending(next: number, limit: number): Promise<readonly Item[]>

  /**
   * Runs `work` in a transaction, then stores its results, moves `next` from `from` past them, and commits all that together. What `work` throws
   * rolls back and is thrown on. An owner that stands still in here is ended by the server after `leaseMs`.
   */
  step(from: number, work: (tx: Transaction) => Promise<readonly ItemResult[]>): Promise<'committed' | 'fenced'>

  /** Items that are `started`, in the order of their places. */
  started(after: number, limit: number): Promise<readonly Item[]>
  /** How started ones have ended. Those that are not `started` any more are left as they are. Returns how many changed. */
  settle(results: readonly ItemResult[]): Promise<{ readonly done: number; readonly failed: number; readonly skipped: number } | 'fenced'>

  /** The end, with its audit line. */
  end(as: 'done' | 'failed', error: string | null, audit: AuditEntry): Promise<boolean>
  /** Gives it back unfinished, for others to take at once. */
  release(): Promise<void>
}
