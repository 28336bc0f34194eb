import type { Clock } from '../../internal/clock.ts'
import type { MemoryTransaction } from './memory-transaction.ts'

/** How a request for a lock can go. `deadlock`: granting it would make transactions wait for each other for ever. */
export type LockOutcome = 'granted' | 'deadlock' | 'timeout' | 'ended'

interface Waiter {
  readonly transaction: MemoryTransaction
  readonly settle: (outcome: LockOutcome) => void
}

interface Lock {
  holder: MemoryTransaction
  readonly waiters: Waiter[]
}

/** Exclusive locks by name, granted in the order of asking and held to the end of the transaction. */
export class MemoryLocks {
  readonly #clock: Clock
  readonly #locks = new Map<string, Lock>()
  readonly #held = new Map<MemoryTransaction, Set<string>>()
  /** What each waiting transaction waits for. */
  readonly #waitsFor = new Map<MemoryTransaction, string>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Takes a lock; having it already is fine. Whoever closes a circle of waiting transactions is told at once. */
  take(transaction: MemoryTransaction, name: string, timeoutMs = Number.POSITIVE_INFINITY): Promise<LockOutcome> {
    const lock = this.#locks.get(name)
    if (lock === undefined) {
      this.#locks.set(name, { holder: transaction, waiters: [] })
      this.#note(transaction, name)
      return Promise.resolve('granted')
    }
    if (lock.holder === transaction) return Promise.resolve('granted')
    if (this.#closesCircle(transaction, lock)) return Promise.resolve('deadlock')
    return this.#wait(transaction, name, lock, timeoutMs)
  }

  /** Who has it. */
  holder(name: string): MemoryTransaction | null {
    return this.#locks.get(name)?.holder ?? null
  }

  isWaiting(transaction: MemoryTransaction): boolean {
    return this.#waitsFor.has(transaction)
  }

  /** Gives back everything a transaction holds, and ends its waiting. */
  release(transaction: MemoryTransaction): void {
    const waited = this.#waitsFor.get(transaction)
    if (waited !== undefined) {
      this.#locks
        .get(waited)
        ?.waiters.find((waiter) => waiter.transaction === transaction)
        ?.settle('ended')
    }
    for (const name of this.#held.get(transaction) ?? []) this.#handOn(name, this.#locks.get(name)!)
    this.#held.delete(transaction)
  }

  #handOn(name: string, lock: Lock): void {
    const next = lock.waiters[0]
    if (next === undefined) {
      this.#locks.delete(name)
      return
    }
    lock.holder = next.transaction
    this.#note(next.transaction, name)
    next.settle('granted')
  }

  #note(transaction: MemoryTransaction, name: string): void {
    const names = this.#held.get(transaction)
    if (names === undefined) this.#held.set(transaction, new Set([name]))
    else names.add(name)
  }

  #wait(transaction: MemoryTransaction, name: string, lock: Lock, timeoutMs: number): Promise<LockOutcome> {
    this.#waitsFor.set(transaction, name)
    return new Promise((resolve) => {
      let cancel = (): void => undefined
      const waiter: Waiter = {
        transaction,
        settle: (outcome) => {
          cancel()
          lock.waiters.splice(lock.waiters.indexOf(waiter), 1)
          this.#waitsFor.delete(transaction)
          resolve(outcome)
        },
      }
      lock.waiters.push(waiter)
      if (timeoutMs < Number.POSITIVE_INFINITY) cancel = this.#clock.after(timeoutMs, () => waiter.settle('timeout'))
    })
  }

  #closesCircle(transaction: MemoryTransaction, lock: Lock): boolean {
    const { waiters } = lock
    // Granted in order, so a lock is waited for behind everybody who waits already.
    const before = [lock.holder, ...waiters.map((waiter) => waiter.transaction)]
    const seen = new Set<MemoryTransaction>()
    for (let one = before.pop(); one !== undefined; one = before.pop()) {
      if (one === transaction) return true
      const wanted = this.#waitsFor.get(one)
      if (seen.has(one) || wanted === undefined) continue
      seen.add(one)
      before.push(this.#locks.get(wanted)!.holder)
    }
    return false
  }
}
