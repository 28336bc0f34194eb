import type { Clock } from '../../internal/clock.ts'
import type { Transaction } from '../../message/transaction.ts'
import type { AuditEntry, AuditRecord } from '../../operation/audit.ts'
import type { FrozenItem, Item, ItemResult, Operation } from '../../operation/operation.ts'
import type {
  AuditFilter,
  ClaimRequest,
  ItemFilter,
  NewOperation,
  OperationFilter,
  OperationLease,
  OperationStore,
  OperationWish,
} from '../../operation/port.ts'
import { largestStep, triedOf } from '../../operation/pace.ts'
import { MemoryDatabase } from './memory-database.ts'

/** An operation with what only the store knows. */
interface Stored {
  operation: Operation
  items: Item[]
  token: number | null
  leaseUntil: number
}

/** Operations and the audit log in memory. Each write is one commit of the database; only a step is a transaction that others can see waiting. */
export class MemoryOperationStore implements OperationStore {
  readonly #database: MemoryDatabase
  readonly #operations = new Map<string, Stored>()
  #tokens = 0

  constructor({ database = new MemoryDatabase() }: { readonly database?: MemoryDatabase } = {}) {
    this.#database = database
  }

  async record(entry: AuditEntry): Promise<void> {
    this.#record(entry)
  }

  async listAudit(filter: AuditFilter): Promise<readonly AuditRecord[]> {
    return this.#database.auditLog.list(filter)
  }

  async create(planned: NewOperation, audit: AuditEntry): Promise<void> {
    const now = new Date(this.#clock.now())
    const operation: Operation = {
      ...structuredClone(planned),
      state: 'planned',
      frozen: false,
      total: 0,
      next: 0,
      counts: { done: 0, failed: 0, skipped: 0, started: 0 },
      base: { tried: 0, failed: 0 },
      error: null,
      runner: null,
      createdAt: now,
      changedAt: now,
      startedAt: null,
      endedAt: null,
    }
    this.#operations.set(planned.id, { operation, items: [], token: null, leaseUntil: 0 })
    this.#record(audit)
  }

  async get(id: string): Promise<Operation | null> {
    return this.#operations.get(id)?.operation ?? null
  }

  async list({ states, kinds, limit = 50 }: OperationFilter): Promise<readonly Operation[]> {
    const all = [...this.#operations.values()].map(({ operation }) => operation)
    const fits = ({ state, kind }: Operation): boolean => (states?.includes(state) ?? true) && (kinds?.includes(kind) ?? true)
    return all
      .filter(fits)
      .sort((a, b) => (a.id < b.id ? 1 : -1))
      .slice(0, limit)
  }

  async items(id: string, { outcomes, after = -1, limit = 100 }: ItemFilter): Promise<readonly Item[]> {
    const items = this.#operations.get(id)?.items.slice(after + 1) ?? []
    return items.filter(({ outcome }) => outcomes === undefined || (outcome !== null && outcomes.includes(outcome))).slice(0, limit)
  }

  async change(id: string, wish: OperationWish, audit: AuditEntry): Promise<Operation | null> {
    const stored = this.#operations.get(id)
    const next = stored === undefined ? null : wished(stored.operation, wish, new Date(this.#clock.now()))
    if (stored === undefined || next === null) return null
    stored.token = null
    this.#record(audit)
    return this.#set(stored, { ...next, runner: null })
  }

  async claim({ runner, kinds, id, except = [], leaseMs }: ClaimRequest): Promise<OperationLease | null> {
    const now = this.#clock.now()
    const isFree = ({ token, leaseUntil, operation }: Stored): boolean => token === null || leaseUntil < now || operation.runner === runner
    const wanted = ({ id: one, kind, state }: Operation): boolean =>
      (state === 'freezing' || state === 'running') && kinds.includes(kind) && (id === undefined || one === id) && !except.includes(one)
    const oldest = [...this.#operations.values()].filter((stored) => wanted(stored.operation) && isFree(stored))
    const stored = oldest.sort((a, b) => (a.operation.id < b.operation.id ? -1 : 1))[0]
    if (stored === undefined) return null
    stored.token = this.#tokens += 1
    stored.leaseUntil = now + leaseMs
    return new MemoryOperationLease(this.#database, stored, this.#set(stored, { runner }), leaseMs, (entry) => this.#record(entry))
  }

  async forget(keepMs: number): Promise<boolean> {
    const before = this.#clock.now() - keepMs
    const old = [...this.#operations.values()].find(({ operation: { endedAt } }) => endedAt !== null && endedAt.getTime() < before)
    return old !== undefined && this.#operations.delete(old.operation.id)
  }

  get #clock(): Clock {
    return this.#database.clock
  }

  #record(entry: AuditEntry): void {
    this.#database.auditLog.record(entry)
  }

  #set(stored: Stored, change: Partial<Operation>): Operation {
    stored.operation = { ...stored.operation, ...change, changedAt: new Date(this.#clock.now()) }
    return stored.operation
  }
}

function wished(operation: Operation, wish: OperationWish, now: Date): Operation | null {
  const { state, frozen, counts } = operation
  if (wish === 'confirm') return state === 'planned' ? { ...operation, state: 'freezing', startedAt: now } : null
  if (wish === 'pause') return state === 'freezing' || state === 'running' ? { ...operation, state: 'paused' } : null
  if (wish === 'cancel') return state === 'done' || state === 'cancelled' ? null : { ...operation, state: 'cancelled', endedAt: now }
  if (state !== 'paused' && state !== 'failed') return null
  const base = { tried: triedOf(counts), failed: counts.failed }
  return { ...operation, state: frozen ? 'running' : 'freezing', error: null, endedAt: null, base }
}

class MemoryOperationLease implements OperationLease {
  readonly operation: Operation
  readonly token: number
  readonly #database: MemoryDatabase
  readonly #stored: Stored
  readonly #leaseMs: number
  readonly #record: (entry: AuditEntry) => void

  constructor(database: MemoryDatabase, stored: Stored, operation: Operation, leaseMs: number, record: (entry: AuditEntry) => void) {
    this.#database = database
    this.#stored = stored
    this.#leaseMs = leaseMs
    this.#record = record
    this.operation = operation
    this.token = stored.token!
  }

  async renew(): Promise<boolean> {
    return this.#change(() => ({}))
  }

  async clear(): Promise<boolean> {
    return this.#change(() => {
      this.#stored.items = []
      return { total: 0 }
    }, 'freezing')
  }

  async freeze(items: readonly FrozenItem[]): Promise<boolean> {
    return this.#change(() => {
      for (const item of items) {
        const place = this.#stored.items.length
        this.#stored.items.push({ ...structuredClone(item), place, outcome: null, reason: null, at: null })
      }
      return { total: this.#stored.items.length }
    }, 'freezing')
  }

  async frozen(): Promise<number | 'fenced'> {
    return this.#change(() => ({ frozen: true, state: 'running' }), 'freezing') ? this.#stored.items.length : 'fenced'
  }

  async pending(next: number, limit: number): Promise<readonly Item[]> {
    const { items } = this.#stored
    const group = items[next + limit - 1]?.group ?? null
    const most = Math.max(limit, largestStep)
    return items.slice(next, next + most).filter((item, i) => i < limit || (group !== null && item.group === group))
  }

  async step(from: number, work: (tx: Transaction) => Promise<readonly ItemResult[]>): Promise<'committed' | 'fenced'> {
    const tx = this.#database.begin()
    try {
      const results = await work(tx)
      if (!this.#holds('running') || this.#stored.operation.next !== from) return 'fenced'
      tx.stage(() => this.#store(from, results))
      tx.commit()
      return 'committed'
    } finally {
      tx.rollBack()
    }
  }

  async started(after: number, limit: number): Promise<readonly Item[]> {
    const { items } = this.#stored
    const found: Item[] = []
    for (let place = after + 1; place < items.length && found.length < limit; place++) {
      if (items[place]!.outcome === 'started') found.push(items[place]!)
    }
    return found
  }

  async settle(results: readonly ItemResult[]): ReturnType<OperationLease['settle']> {
    const ended = { done: 0, failed: 0, skipped: 0 }
    const held = this.#change(({ counts }) => {
      for (const result of results) {
        if (result.outcome === 'started' || this.#stored.items[result.place]?.outcome !== 'started') continue
        this.#note(result)
        ended[result.outcome] += 1
      }
      const { done, failed, skipped } = ended
      const { started } = counts
      return {
        counts: {
          done: counts.done + done,
          failed: counts.failed + failed,
          skipped: counts.skipped + skipped,
          started: started - done - failed - skipped,
        },
      }
    }, 'running')
    return held ? ended : 'fenced'
  }

  async end(as: 'done' | 'failed', error: string | null, audit: AuditEntry): Promise<boolean> {
    const held = this.#change(() => ({ state: as, error, endedAt: new Date(this.#database.clock.now()), runner: null }))
    if (!held) return false
    this.#stored.token = null
    this.#record(audit)
    return true
  }

  async release(): Promise<void> {
    if (this.#change(() => ({ runner: null }))) this.#stored.token = null
  }

  #holds(state?: Operation['state']): boolean {
    return this.#stored.token === this.token && (state === undefined || this.#stored.operation.state === state)
  }

  #change(make: (operation: Operation) => Partial<Operation>, state?: Operation['state']): boolean {
    if (!this.#holds(state)) return false
    const now = this.#database.clock.now()
    const { operation } = this.#stored
    this.#stored.operation = { ...operation, ...make(operation), changedAt: new Date(now) }
    this.#stored.leaseUntil = now + this.#leaseMs
    return true
  }

  #store(from: number, results: readonly ItemResult[]): void {
    this.#change(({ counts }) => {
      const next = { ...counts }
      for (const result of results) {
        this.#note(result)
        next[result.outcome] += 1
      }
      return { counts: next, next: from + results.length }
    })
  }

  #note({ place, outcome, reason = null }: ItemResult): void {
    const at = new Date(this.#database.clock.now())
    this.#stored.items[place] = { ...this.#stored.items[place]!, outcome, reason, at }
  }
}
