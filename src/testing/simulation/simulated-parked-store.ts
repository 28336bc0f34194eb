import type { HeadFailure, LeaseRequest, LeasedKey, ParkedStore, RetryTransaction, SplitKeys } from '../../consumer/parked-port.ts'
import type { PartitionRef } from '../../consumer/port.ts'
import type { Ledger } from './ledger.ts'
import { SimulatedRetry } from './simulated-batch.ts'
import { connectionLost } from './simulated-outbox-store.ts'
import type { SimulatedProcess } from './simulated-process.ts'
import type { Surroundings } from './surroundings.ts'

/** The retriers' store as one process reaches it. */
export class SimulatedParkedStore implements ParkedStore {
  readonly #world: Surroundings
  readonly #process: SimulatedProcess
  readonly #store: ParkedStore
  readonly #ledger: Ledger

  constructor(world: Surroundings, process: SimulatedProcess, store: ParkedStore, ledger: Ledger) {
    this.#world = world
    this.#process = process
    this.#store = store
    this.#ledger = ledger
  }

  lease(request: LeaseRequest): Promise<readonly LeasedKey[]> {
    return this.#call('lease', () => this.#store.lease(request))
  }

  async begin(keys: readonly LeasedKey[]): Promise<RetryTransaction> {
    const inner = await this.#call('begin retry', () => this.#store.begin(keys))
    return new SimulatedRetry(this.#world, this.#process, inner, keys, this.#ledger)
  }

  failed(key: LeasedKey, failure: HeadFailure): Promise<boolean> {
    return this.#call(`note failure: ${failure.do}`, async () => {
      const noted = await this.#store.failed(key, failure)
      // Nothing has happened since its commit.
      if (noted && failure.do === 'bury') this.#ledger.buried(failure.letter)
      this.#count(noted, failure)
      return noted
    })
  }

  renew(keys: readonly LeasedKey[], leaseMs: number): Promise<void> {
    return this.#call('renew', () => this.#store.renew(keys, leaseMs))
  }

  giveBack(keys: readonly LeasedKey[], how: 'tried' | 'untried', afterMs: number): Promise<void> {
    return this.#call('give back key', () => this.#store.giveBack(keys, how, afterMs))
  }

  refund(partition: PartitionRef, keys: readonly Buffer[]): Promise<void> {
    return this.#call('refund', () => this.#store.refund(partition, keys))
  }

  waiting(group: string): Promise<number> {
    return this.#call('waiting', () => this.#store.waiting(group))
  }

  splitKeys(group: string): Promise<readonly SplitKeys[]> {
    return this.#call('split keys', () => this.#store.splitKeys(group))
  }

  #count(noted: boolean, failure: HeadFailure): void {
    if (!noted) this.#world.count('lease lost')
    else if (failure.do === 'park') this.#world.count('failed again')
    else this.#world.count(failure.letter.errorClass === 'PROCESS_CRASHED' ? 'blamed for a crash' : 'buried by a retrier')
  }

  #call<T>(what: string, work: () => Promise<T>): Promise<T> {
    return this.#process.call(what, work, connectionLost)
  }
}
