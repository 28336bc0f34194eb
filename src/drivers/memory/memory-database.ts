import { type Clock, systemClock } from '../../internal/clock.ts'
import { MemoryAuditLog } from './memory-audit-log.ts'
import { MemoryLocks } from './memory-locks.ts'
import { type Change, MemoryTransaction } from './memory-transaction.ts'
import { MemoryData } from './memory-view.ts'

export interface MemoryDatabaseOptions {
  /** @default this process's clock */
  readonly clock?: Clock
  /**
   * Awaited before each step of a transaction of the stores on this database, with the step's name. A simulation lets others go first here,
   * which is where a server's statements interleave. @default goes on at once
   */
  readonly step?: (what: string, transaction: MemoryTransaction) => Promise<void>
}

/**
 * A transactional store in memory: transactions whose changes show all at once, in one order of commits; locks by name; and values by key for
 * whoever uses it. It knows no SQL. What the patterns need of a database stands on it: `MemoryOutboxStore`, `MemoryConsumerStore`.
 */
export class MemoryDatabase {
  readonly clock: Clock
  readonly locks: MemoryLocks
  /** Committed lines. */
  readonly auditLog: MemoryAuditLog
  /** Committed values, for whoever wants to look from outside of a transaction. */
  readonly data = new MemoryData()
  readonly #step: (what: string, transaction: MemoryTransaction) => Promise<void>
  #commits = 0

  constructor({ clock = systemClock, step = () => Promise.resolve() }: MemoryDatabaseOptions = {}) {
    this.clock = clock
    this.locks = new MemoryLocks(clock)
    this.auditLog = new MemoryAuditLog(clock)
    this.#step = step
  }

  /** How many transactions have committed: a snapshot, since everything up to it is visible and nothing after it. */
  get commits(): number {
    return this.#commits
  }

  begin(): MemoryTransaction {
    return new MemoryTransaction(this)
  }

  /** Runs `work` in a transaction and commits it. What it throws rolls back. */
  async transaction<T>(work: (tx: MemoryTransaction) => Promise<T>): Promise<T> {
    const tx = this.begin()
    try {
      const result = await work(tx)
      await this.step('commit', tx)
      tx.commit()
      return result
    } catch (error) {
      tx.rollBack()
      throw error
    }
  }

  /** To be awaited between two steps of a transaction. */
  step(what: string, transaction: MemoryTransaction): Promise<void> {
    return this.#step(what, transaction)
  }

  /** For transactions: makes their changes, as the next commit. */
  commit(change: Change): void {
    this.#commits += 1
    change(this.#commits)
  }
}
