import { TidemarkError } from '../../errors.ts'
import type { Row, Transaction } from '../../message/transaction.ts'

/** What handlers keep in a memory store, by key. */
export type MemoryData = Map<string, unknown>

type Change = (data: MemoryData) => void

/**
 * A transaction on a store in memory, with commands in place of SQL: `get [key]`, `set [key, value]`, `add [key, number]`,
 * `append [key, value]`, and `fail`, which fails as a statement of a database may. Changes show to others at the commit, all at once.
 */
export class MemoryTransaction implements Transaction<MemoryTransaction> {
  readonly #data: MemoryData
  readonly #step: () => Promise<void>
  readonly #changes: Change[] = []
  #state: 'open' | 'failed' | 'none' = 'open'

  /** `step` is awaited by every command, for simulations that reorder or fail them. */
  constructor(data: MemoryData, step: () => Promise<void>) {
    this.#data = data
    this.#step = step
  }

  get raw(): MemoryTransaction {
    return this
  }

  get state(): 'open' | 'failed' | 'none' {
    return this.#state
  }

  async query<R extends Row = Row>(text: string, params: readonly unknown[] = []): Promise<R[]> {
    // Decided when asked for, as a connection does: commands take effect in the order of the calls.
    const outcome = this.#perform(text, params)
    await this.#step()
    if (outcome instanceof Error) throw outcome
    return outcome as R[]
  }

  commitTo(data: MemoryData): void {
    for (const change of this.#changes) change(data)
    this.end()
  }

  end(): void {
    this.#state = 'none'
  }

  #perform(text: string, [key, value]: readonly unknown[]): Row[] | Error {
    if (this.#state === 'none') return new TidemarkError('TRANSACTION_CLOSED', 'The transaction has ended.')
    if (this.#state === 'failed') return new TidemarkError('TRANSACTION_ABORTED', 'An earlier command of this transaction failed.')
    const change = changeOf(text, String(key), value)
    if (change !== undefined) {
      this.#changes.push(change)
      return []
    }
    if (text === 'get') return [{ value: this.#read(String(key)) }]
    this.#state = 'failed'
    return new Error(text === 'fail' ? 'the command failed' : `the memory store knows no command "${text}"`)
  }

  /** What is committed, with this transaction's own changes on top. */
  #read(key: string): unknown {
    const own: MemoryData = new Map(this.#data.has(key) ? [[key, this.#data.get(key)]] : [])
    for (const change of this.#changes) change(own)
    return own.get(key)
  }
}

function changeOf(text: string, key: string, value: unknown): Change | undefined {
  switch (text) {
    case 'set':
      return (data) => data.set(key, value)
    case 'add':
      return (data) => data.set(key, Number(data.get(key) ?? 0) + Number(value))
    case 'append':
      return (data) => data.set(key, [...((data.get(key) as readonly unknown[] | undefined) ?? []), value])
    default:
      return undefined
  }
}
