import { TidemarkError } from '../../errors.ts'
import type { Transaction } from '../../message/transaction.ts'

/** A committed value, and the number of the commit that put it there. */
interface Stored {
  readonly value: unknown
  readonly commit: number
}

/** What handlers and tests keep in a memory database: values by key, committed. */
export class MemoryData {
  readonly #values = new Map<string, Stored>()
  #lastCommit = 0

  get(key: string): unknown {
    return copied(this.#values.get(key)?.value)
  }

  /** In the order of the keys. */
  entries(): [key: string, value: unknown][] {
    const there = [...this.#values].filter(([, { value }]) => value !== undefined)
    return there.map(([key, { value }]): [string, unknown] => [key, copied(value)]).sort(byKey)
  }

  /** Number of the commit that last changed this key, or anything. */
  changedAt(key?: string): number {
    return key === undefined ? this.#lastCommit : (this.#values.get(key)?.commit ?? 0)
  }

  /** `undefined` deletes. */
  put(key: string, value: unknown, commit: number): void {
    this.#values.set(key, { value, commit })
    this.#lastCommit = commit
  }
}

/**
 * What a transaction of a memory database keeps: values by key. Reads see what is committed with the transaction's own changes on top; the
 * changes show to others at the commit, all at once, and not at all after a rollback. Values are copied (structured clone), so changing one
 * afterwards changes nothing.
 *
 * Where another transaction has meanwhile changed something that this one has read, its commit fails as a conflict: a consumer runs the batch
 * again, charged to nobody; `service.transaction` rejects with `TRANSACTION_ABORTED`, and may be tried again.
 */
export class MemoryView {
  readonly #data: MemoryData
  readonly #requireOpen: () => void
  readonly #changes = new Map<string, unknown>()
  /** What was read, and as of which commit. */
  readonly #read = new Map<string, number>()
  #readAllAt: number | null = null

  constructor(data: MemoryData, requireOpen: () => void) {
    this.#data = data
    this.#requireOpen = requireOpen
  }

  /** `undefined`: there is none. */
  get(key: string): unknown {
    this.#requireOpen()
    if (this.#changes.has(key)) return copied(this.#changes.get(key))
    if (!this.#read.has(key)) this.#read.set(key, this.#data.changedAt(key))
    return this.#data.get(key)
  }

  set(key: string, value: unknown): void {
    this.#requireOpen()
    this.#changes.set(key, copied(value))
  }

  /** `false`: there was none. */
  delete(key: string): boolean {
    const had = this.get(key) !== undefined
    this.#changes.set(key, undefined)
    return had
  }

  /** Everything, in the order of the keys. Reads all of it, so that any commit in between is a conflict. */
  entries(): [key: string, value: unknown][] {
    this.#requireOpen()
    this.#readAllAt ??= this.#data.changedAt()
    const merged = new Map(this.#data.entries())
    for (const [key, value] of this.#changes) merged.set(key, copied(value))
    return [...merged].filter(([, value]) => value !== undefined).sort(byKey)
  }

  /** A key that another transaction changed after this one had read it; `null` if there is none. */
  conflict(): string | null {
    if (this.#readAllAt !== null && this.#data.changedAt() !== this.#readAllAt) return '(any)'
    for (const [key, at] of this.#read) if (this.#data.changedAt(key) !== at) return key
    return null
  }

  /** As it stands now, for `restore`. */
  get mark(): ReadonlyMap<string, unknown> {
    return new Map(this.#changes)
  }

  restore(mark: ReadonlyMap<string, unknown>): void {
    this.#changes.clear()
    for (const [key, value] of mark) this.#changes.set(key, value)
  }

  /** Makes the changes. */
  apply(commit: number): void {
    for (const [key, value] of this.#changes) this.#data.put(key, value, commit)
  }
}

/**
 * The values of a memory database as a handler's transaction sees them. Throws `INPUT_INVALID` for a transaction of another database.
 *
 * ```ts
 * billing.consume(OrderPlaced, (order, { tx }) => {
 *   memoryView(tx).set(`invoice ${order.data.orderId}`, order.data.total)
 * })
 * ```
 */
export function memoryView(tx: Transaction): MemoryView {
  const { raw } = tx
  if (raw instanceof MemoryView) return raw
  throw new TidemarkError('INPUT_INVALID', 'memoryView expected a transaction of the memory database, and got another one.', {
    remedy: 'Give the service database: memory().',
  })
}

function copied(value: unknown): unknown {
  return typeof value === 'object' && value !== null ? structuredClone(value) : value
}

function byKey(a: readonly [string, unknown], b: readonly [string, unknown]): number {
  return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0
}
