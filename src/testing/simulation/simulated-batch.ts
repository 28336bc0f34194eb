import type { BatchEnd, BatchTransaction, CommitOutcome, LaneRef } from '../../consumer/port.ts'
import { MemoryTransaction } from '../../drivers/memory/memory-transaction.ts'
import { TidemarkError } from '../../errors.ts'
import type { Row, Transaction } from '../../message/transaction.ts'
import type { Ledger } from './ledger.ts'
import { connectionLost } from './simulated-outbox-store.ts'
import type { SimulatedProcess } from './simulated-process.ts'
import type { Surroundings } from './surroundings.ts'

/**
 * A batch's transaction over a connection that can break. Its one statement with a meaning is `effect`, with the id of the message: what a handler does. A broken
 * connection is noticed by the server sooner or later, which rolls back then, unless the commit is on its way.
 */
export class SimulatedBatch implements BatchTransaction {
  readonly tx: Transaction
  readonly #world: Surroundings
  readonly #process: SimulatedProcess
  readonly #inner: BatchTransaction
  readonly #server: MemoryTransaction
  readonly #lane: LaneRef
  readonly #ledger: Ledger
  #connection: 'open' | 'broken' | 'ended' = 'open'
  #committing = false

  constructor(world: Surroundings, process: SimulatedProcess, inner: BatchTransaction, lane: LaneRef, ledger: Ledger) {
    const { tx: server } = inner
    if (!(server instanceof MemoryTransaction)) throw new Error('The simulation runs on the memory database.')
    this.#world = world
    this.#process = process
    this.#inner = inner
    this.#server = server
    this.#lane = lane
    this.#ledger = ledger
    this.tx = { query: (text, params) => this.#query(text, params ?? []), raw: server.raw }
    process.whenDead(() => this.#break())
  }

  alreadyHandled(identities: readonly string[]): Promise<ReadonlySet<string>> {
    return this.#call('look up ids', () => this.#inner.alreadyHandled(identities))
  }

  status(): Promise<'open' | 'failed' | 'none'> {
    return this.#call('status', () => this.#inner.status())
  }

  blame(error: unknown): 'handler' | 'conflict' | 'lost' {
    return this.#connection === 'broken' ? 'lost' : this.#inner.blame(error)
  }

  async commit(end: BatchEnd): Promise<CommitOutcome> {
    if (this.#connection !== 'open') throw connectionLost()
    const { topic, partition, lane } = this.#lane
    const what = `commit ${topic}-${partition}/${lane} ${end.position.nextOffset}..${end.nextOffset}`
    const work = (): Promise<CommitOutcome> => {
      this.#committing = true
      if (this.#server.state === 'open') this.#server.stage(() => this.#ledger.committed(this.#lane, end, this.#process.name))
      return this.#inner.commit(end)
    }
    try {
      const result = await this.#process.call(what, work, commitUnknown)
      this.#connection = 'ended'
      return result
    } catch (error) {
      if (TidemarkError.is(error, 'COMMIT_UNKNOWN')) this.#break()
      throw error
    }
  }

  async rollBack(): Promise<void> {
    if (this.#connection !== 'open') return
    this.#connection = 'ended'
    await this.#process.call('roll back', () => this.#inner.rollBack(), connectionLost).catch(() => this.#inner.rollBack())
  }

  /** What a statement does is decided when it is asked for: statements of one connection keep their order. */
  async #query<R extends Row>(text: string, [id]: readonly unknown[]): Promise<R[]> {
    if (this.#connection !== 'open') throw connectionLost()
    if (text === 'effect') this.#server.stage(() => this.#ledger.effect(this.#lane, String(id), this.#process.name, this))
    await this.#call(`${text} of ${String(id)}`, () => Promise.resolve())
    return []
  }

  async #call<T>(what: string, work: () => Promise<T>): Promise<T> {
    if (this.#connection !== 'open') throw connectionLost()
    try {
      return await this.#process.call(what, work, connectionLost)
    } catch (error) {
      if (TidemarkError.is(error, 'DATABASE_CONNECTION_LOST')) this.#break()
      throw error
    }
  }

  #break(): void {
    if (this.#connection !== 'open') return
    this.#connection = 'broken'
    const { chance, schedule } = this.#world
    // A commit that has reached the server goes on, or is cut off.
    if (this.#committing && chance.isSo(0.7)) return
    schedule.after(chance.pick([0, 1, 100, 3_000]), () => {
      if (!this.#committing) this.#inner.rollBack().catch(() => undefined)
      else this.#server.terminate()
    })
  }
}

function commitUnknown(): TidemarkError {
  return new TidemarkError('COMMIT_UNKNOWN', 'The connection broke during the commit.')
}
