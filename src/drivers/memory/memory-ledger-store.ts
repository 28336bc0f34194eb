import type { LedgerChange, LedgerClaim, LedgerCount, LedgerEntry, LedgerKey, LedgerStore, StoredResponse } from '../../inbox/port.ts'
import { TidemarkError } from '../../errors.ts'
import type { Transaction } from '../../message/transaction.ts'
import type { MemoryDatabase } from './memory-database.ts'
import { memoryTransaction } from './memory-transaction.ts'

interface Kept {
  readonly key: LedgerKey
  readonly token: number
  readonly state: LedgerEntry['state']
  readonly leaseUntil: number
  readonly expiresAt: number
  readonly attempts: number
  readonly fingerprint: string | null
  readonly response: StoredResponse | null
}

/** The idempotency-key ledger in memory. Each call is one step, so that nobody comes in between. */
export class MemoryLedgerStore implements LedgerStore {
  readonly #database: MemoryDatabase
  readonly #entries = new Map<string, Kept>()
  #tokens = 0

  constructor(database: MemoryDatabase) {
    this.#database = database
  }

  async begin(key: LedgerKey, claim: LedgerClaim): Promise<{ readonly entry: LedgerEntry; readonly isMade: boolean }> {
    const there = this.#entries.get(nameOf(key))
    if (there !== undefined) return { entry: this.#seen(there), isMade: false }
    return { entry: this.#keep(this.#claimed(key, claim, 1)), isMade: true }
  }

  async change(key: LedgerKey, token: string, change: LedgerChange, tx?: Transaction): Promise<LedgerEntry | null> {
    const there = this.#withToken(key, token)
    const next = there === undefined ? null : this.#changed(there, change)
    if (next === null) return null
    if (tx === undefined) return this.#keep(next)
    const own = memoryTransaction(tx)
    if (own === null || !own.isOf(this.#database))
      throw new TidemarkError('INPUT_INVALID', 'The transaction is not one of this memory database.')
    own.stage(
      () => void this.#keep(next),
      () => this.#withToken(key, token) !== undefined,
    )
    return this.#seen(next)
  }

  async remove(key: LedgerKey, token: string): Promise<boolean> {
    const there = this.#withToken(key, token)
    return there !== undefined && there.state !== 'done' && this.#entries.delete(nameOf(key))
  }

  async forget(limit: number): Promise<number> {
    const old = [...this.#entries].filter(([, entry]) => this.#isExpired(entry) && !this.#isHeld(entry)).slice(0, limit)
    for (const [name] of old) this.#entries.delete(name)
    return old.length
  }

  async counts(): Promise<readonly LedgerCount[]> {
    const counts = new Map<string, LedgerCount>()
    for (const entry of this.#entries.values()) {
      const state = entry.state === 'in progress' && !this.#isHeld(entry) ? 'unknown' : entry.state
      const name = JSON.stringify([entry.key.scope, state])
      counts.set(name, { scope: entry.key.scope, state, entries: (counts.get(name)?.entries ?? 0) + 1 })
    }
    return [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, count]) => count)
  }

  #changed(there: Kept, change: LedgerChange): Kept | null {
    const now = this.#database.clock.now()
    if (change.to === 'in progress' && there.state === 'done' && !this.#isExpired(there)) return null
    if (change.to === 'in progress') return this.#claimed(there.key, change.claim, there.attempts + 1)
    if (change.to === 'done') {
      if (there.state === 'done') return null
      const response = { format: change.response.format, body: Buffer.from(change.response.body) }
      return { ...there, state: 'done', leaseUntil: now, expiresAt: now + change.keepMs, response }
    }
    if (there.state !== 'in progress') return null
    return change.to === 'renewed' ? { ...there, leaseUntil: now + change.leaseMs } : { ...there, state: 'unknown', leaseUntil: now }
  }

  #claimed(key: LedgerKey, { fingerprint, leaseMs, keepMs }: LedgerClaim, attempts: number): Kept {
    const now = this.#database.clock.now()
    const expiresAt = keepMs === null ? Number.POSITIVE_INFINITY : now + Math.max(leaseMs, keepMs)
    return { key, token: ++this.#tokens, state: 'in progress', leaseUntil: now + leaseMs, expiresAt, attempts, fingerprint, response: null }
  }

  #withToken(key: LedgerKey, token: string): Kept | undefined {
    const there = this.#entries.get(nameOf(key))
    return there !== undefined && String(there.token) === token ? there : undefined
  }

  #keep(entry: Kept): LedgerEntry {
    this.#entries.set(nameOf(entry.key), entry)
    return this.#seen(entry)
  }

  #seen(entry: Kept): LedgerEntry {
    const { token, state, attempts, fingerprint, response, leaseUntil } = entry
    const leaseLeftMs = leaseUntil - this.#database.clock.now()
    return { token: String(token), state, leaseLeftMs, isExpired: this.#isExpired(entry), attempts, fingerprint, response }
  }

  #isExpired({ expiresAt }: Kept): boolean {
    return expiresAt < this.#database.clock.now()
  }

  #isHeld({ state, leaseUntil }: Kept): boolean {
    return state === 'in progress' && leaseUntil > this.#database.clock.now()
  }
}

function nameOf({ scope, identity, step }: LedgerKey): string {
  return JSON.stringify([scope, identity, step])
}
