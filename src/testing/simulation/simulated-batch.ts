import type { LeasedKey, RetryEnd, RetryOutcome, RetryTransaction } from '../../consumer/parked-port.ts'
import type { BatchEnd, BatchTransaction, CommitOutcome, HandlerTransaction, LaneRef, PartitionRef } from '../../consumer/port.ts'
import { MemoryTransaction } from '../../drivers/memory/memory-transaction.ts'
import { TidemarkError } from '../../errors.ts'
import type { Row, Transaction } from '../../message/transaction.ts'
import type { Ledger } from './ledger.ts'
import { connectionLost } from './simulated-outbox-store.ts'
import type { SimulatedProcess } from './simulated-process.ts'
import type { Surroundings } from './surroundings.ts'

/**
 * A transaction over a connection that can break. Its one statement with a meaning is `effect`, with the id of the message: what a handler does. A broken
 * connection is noticed by the server sooner or later, which rolls back then, unless the commit is on its way.
 */
class SimulatedTransaction<Inner extends HandlerTransaction> implements HandlerTransaction {
  readonly tx: Transaction
  protected readonly inner: Inner
  protected readonly process: SimulatedProcess
  protected readonly ledger: Ledger
  protected readonly server: MemoryTransaction
  protected readonly world: Surroundings
  readonly #effect: (id: string) => void
  #connection: 'open' | 'broken' | 'ended' = 'open'
  #committing = false

  constructor(world: Surroundings, process: SimulatedProcess, inner: Inner, ledger: Ledger, effect: (id: string) => void) {
    const { tx: server } = inner
    if (!(server instanceof MemoryTransaction)) throw new Error('The simulation runs on the memory database.')
    this.world = world
    this.process = process
    this.inner = inner
    this.server = server
    this.ledger = ledger
    this.#effect = effect
    this.tx = { query: (text, params) => this.#query(text, params ?? []), raw: server.raw }
    process.whenDead(() => this.#break())
  }

  alreadyHandled(identities: readonly string[]): Promise<ReadonlySet<string>> {
    return this.#call('look up ids', () => this.inner.alreadyHandled(identities))
  }

  status(): Promise<'open' | 'failed' | 'none'> {
    return this.#call('status', () => this.inner.status())
  }

  blame(error: unknown): 'handler' | 'conflict' | 'lost' {
    return this.#connection === 'broken' ? 'lost' : this.inner.blame(error)
  }

  mark(): void {
    this.inner.mark()
  }

  undo(): Promise<boolean> {
    return this.#call('undo', () => this.inner.undo())
  }

  /** `note`: what the ledger hears if it commits. */
  protected async end<Outcome>(what: string, note: () => void, commit: () => Promise<Outcome>): Promise<Outcome> {
    if (this.#connection !== 'open') throw connectionLost()
    const work = (): Promise<Outcome> => {
      this.#committing = true
      if (this.server.state === 'open') this.server.stage(note)
      return commit()
    }
    try {
      const result = await this.process.call(what, work, commitUnknown)
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
    await this.process.call('roll back', () => this.inner.rollBack(), connectionLost).catch(() => this.inner.rollBack())
  }

  /** What a statement does is decided when it is asked for: statements of one connection keep their order. */
  async #query<R extends Row>(text: string, [id]: readonly unknown[]): Promise<R[]> {
    if (this.#connection !== 'open') throw connectionLost()
    if (text === 'effect') this.server.stage(() => this.#effect(String(id)))
    await this.#call(`${text} of ${String(id)}`, () => Promise.resolve())
    return []
  }

  async #call<T>(what: string, work: () => Promise<T>): Promise<T> {
    if (this.#connection !== 'open') throw connectionLost()
    try {
      return await this.process.call(what, work, connectionLost)
    } catch (error) {
      if (TidemarkError.is(error, 'DATABASE_CONNECTION_LOST')) this.#break()
      throw error
    }
  }

  #break(): void {
    if (this.#connection !== 'open') return
    this.#connection = 'broken'
    const { chance, schedule } = this.world
    // A commit that has reached the server goes on, or is cut off.
    if (this.#committing && chance.isSo(0.7)) return
    schedule.after(chance.pick([0, 1, 100, 3_000]), () => {
      if (!this.#committing) this.inner.rollBack().catch(() => undefined)
      else this.server.terminate()
    })
  }
}

/** A lane batch. */
export class SimulatedBatch extends SimulatedTransaction<BatchTransaction> implements BatchTransaction {
  readonly #lane: LaneRef

  constructor(world: Surroundings, process: SimulatedProcess, inner: BatchTransaction, lane: LaneRef, ledger: Ledger) {
    const batch = {}
    super(world, process, inner, ledger, (id) => ledger.effect(lane, id, process.name, batch))
    this.#lane = lane
  }

  commit(end: BatchEnd): Promise<CommitOutcome> {
    const { topic, partition, lane } = this.#lane
    const what = `commit ${topic}-${partition}/${lane} ${end.position.nextOffset}..${end.nextOffset}`
    const note = (): void => {
      this.ledger.committed(this.#lane, end, this.process.name)
      this.#count(end)
    }
    return this.end(what, note, async () => {
      const result = await this.inner.commit(end)
      if (result.outcome === 'released') this.world.count('released while a lane appended')
      if (result.outcome === 'moved') this.world.count('fenced or held')
      return result
    })
  }

  #count({ park, queue, deadLetters }: BatchEnd): void {
    for (let i = 0; i < park.length; i++) this.world.count('parked')
    for (let i = 0; i < queue.length; i++) this.world.count('queued')
    for (const { errorClass } of deadLetters) this.world.count(errorClass === 'PROCESS_CRASHED' ? 'blamed for a crash' : 'buried')
  }
}

/** A retrier's. */
export class SimulatedRetry extends SimulatedTransaction<RetryTransaction> implements RetryTransaction {
  readonly #keys: readonly LeasedKey[]

  constructor(world: Surroundings, process: SimulatedProcess, inner: RetryTransaction, keys: readonly LeasedKey[], ledger: Ledger) {
    super(world, process, inner, ledger, (id) => ledger.retried(id, process.name))
    this.#keys = keys
  }

  commit(end: RetryEnd): Promise<RetryOutcome> {
    const removed = this.#keys.flatMap(({ messages }, i) => messages.slice(0, end.done[i]).map(({ record }) => record))
    const note = (): void => {
      this.ledger.removed(removed, this.process.name)
      this.world.count('retried')
      if (end.done.filter((done) => done > 0).length > 1) this.world.count('retried together')
    }
    return this.end(`commit retry of ${this.#keys.map(({ partition }) => nameOf(partition)).join(', ')}`, note, async () => {
      const result = await this.inner.commit(end)
      if (result.outcome === 'moved') this.world.count('lease lost')
      return result
    })
  }
}

function nameOf({ topic, partition }: PartitionRef): string {
  return `${topic}-${partition}`
}

function commitUnknown(): TidemarkError {
  return new TidemarkError('COMMIT_UNKNOWN', 'The connection broke during the commit.')
}
