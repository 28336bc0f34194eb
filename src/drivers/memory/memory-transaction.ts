import { TidemarkError } from '../../errors.ts'
import type { Transaction } from '../../message/transaction.ts'
import type { MemoryDatabase } from './memory-database.ts'
import { MemoryView } from './memory-view.ts'

/** A change to be made at the commit, of which it is told the number. */
export type Change = (commit: number) => void

/**
 * A transaction of a memory database. Like one of a server it goes on by itself: it keeps its locks while its owner stands still, and others can
 * end it then. Everything rejects or throws once it has ended: `TRANSACTION_CLOSED`, or `DATABASE_CONNECTION_LOST` if others ended it.
 */
export class MemoryTransaction implements Transaction<MemoryView> {
  /** Values by key; see `MemoryView`. */
  readonly raw: MemoryView
  readonly #database: MemoryDatabase
  readonly #changes: { readonly change: Change; readonly isDue: () => boolean }[] = []
  #mark: { readonly changes: number; readonly values: ReadonlyMap<string, unknown> } | null = null
  #state: 'open' | 'failed' | 'closed' | 'lost' = 'open'
  #onEnd: () => void = () => undefined

  constructor(database: MemoryDatabase) {
    this.#database = database
    this.raw = new MemoryView(database.data, () => this.requireOpen())
    ofView.set(this.raw, this)
  }

  get state(): 'open' | 'failed' | 'closed' | 'lost' {
    return this.#state
  }

  /** Rejects with `INPUT_INVALID`: there is no SQL in memory. The transaction has failed then, as by a wrong statement on a server. */
  query(): Promise<never> {
    try {
      this.requireOpen()
    } catch (error) {
      return Promise.reject(error)
    }
    this.#state = 'failed'
    return Promise.reject(noSql())
  }

  /** Does this transaction belong to that database? */
  isOf(database: MemoryDatabase): boolean {
    return this.#database === database
  }

  /** Remembers what has been done so far, for `undo`. */
  mark(): void {
    if (this.#state === 'open') this.#mark = { changes: this.#changes.length, values: this.raw.mark }
  }

  /** Undoes what has been done since the mark, also when the transaction has failed. Locks stay. `false`: it has ended. */
  undo(): boolean {
    if (this.#mark === null || (this.#state !== 'open' && this.#state !== 'failed')) return false
    this.#state = 'open'
    this.#changes.length = this.#mark.changes
    this.raw.restore(this.#mark.values)
    return true
  }

  requireOpen(): void {
    if (this.#state === 'open') return
    if (this.#state === 'lost') {
      throw new TidemarkError('DATABASE_CONNECTION_LOST', 'The transaction stood still and was ended by somebody who needed its locks.')
    }
    if (this.#state === 'failed') throw new TidemarkError('TRANSACTION_ABORTED', 'An earlier statement of this transaction failed.')
    throw new TidemarkError('TRANSACTION_CLOSED', 'The transaction has ended.', { remedy: 'Await everything before it ends.' })
  }

  /**
   * Takes an exclusive lock, kept to the end of the transaction. `false`: not within `timeoutMs`. Rejects with a conflict where waiting would
   * be a deadlock.
   */
  async lock(name: string, timeoutMs?: number): Promise<boolean> {
    this.requireOpen()
    const outcome = await this.#database.locks.take(this, name, timeoutMs)
    if (outcome === 'deadlock') throw conflict(`waiting for ${name} would be a deadlock`)
    if (outcome === 'timeout') return false
    this.requireOpen()
    return true
  }

  /** Has something done at the commit, in the order of the calls. Where it `isDue` no more by then, the transaction meets a conflict instead. */
  stage(change: Change, isDue: () => boolean = () => true): void {
    this.requireOpen()
    this.#changes.push({ change, isDue })
  }

  /** Makes all changes at once. Throws, and nothing is done, when the transaction has failed, was ended, or meets a conflict. */
  commit(): void {
    try {
      this.requireOpen()
      const key = this.raw.conflict()
      if (key !== null) throw conflict(`another transaction has changed "${key}" since it was read`)
      if (!this.#changes.every(({ isDue }) => isDue())) throw conflict('what it was to change was changed by somebody else')
    } catch (error) {
      this.#end('closed')
      throw error
    }
    this.#database.commit((commit) => {
      this.raw.apply(commit)
      for (const { change } of this.#changes) change(commit)
    })
    this.#end('closed')
  }

  /** Undoes everything. Afterwards nothing happens. */
  rollBack(): void {
    this.#end('closed')
  }

  /** Ends it from outside, as an administrator or a time limit of the server does. */
  terminate(): void {
    this.#end('lost')
  }

  /** Ends it when it stands still for so long, other than by waiting for a lock, from now on. */
  limitStandstill(ms: number): void {
    const { clock, locks } = this.#database
    const cancel = clock.after(ms, () => {
      if (locks.isWaiting(this)) this.limitStandstill(ms)
      else this.terminate()
    })
    this.#onEnd = cancel
  }

  #end(as: 'closed' | 'lost'): void {
    if (this.#state === 'closed' || this.#state === 'lost') return
    this.#state = as
    this.#onEnd()
    this.#database.locks.release(this)
  }
}

/** What a handler is given wraps the transaction, and hands on its values alone. */
const ofView = new WeakMap<MemoryView, MemoryTransaction>()

/** The transaction behind what a handler was given; `null`: it is not of a memory database. */
export function memoryTransaction({ raw }: Transaction): MemoryTransaction | null {
  return raw instanceof MemoryView ? (ofView.get(raw) ?? null) : null
}

/** Nobody's fault, and gone when tried again. */
function conflict(why: string): TidemarkError {
  return new TidemarkError('TRANSACTION_ABORTED', `The transaction met another one: ${why}.`, { details: { conflict: true } })
}

export function isConflict(error: unknown): boolean {
  return TidemarkError.is(error, 'TRANSACTION_ABORTED') && error.details['conflict'] === true
}

export function noSql(): TidemarkError {
  return new TidemarkError('INPUT_INVALID', 'The memory database has no SQL.', {
    remedy: 'Keep values by key, with memoryView(tx).get and .set; or run this test on Postgres: service(name) without options starts one.',
  })
}
