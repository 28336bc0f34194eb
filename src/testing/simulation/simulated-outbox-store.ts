import { TidemarkError } from '../../errors.ts'
import type { OutboxMessage } from '../../message/outbox-message.ts'
import type { Transaction } from '../../message/transaction.ts'
import type { HeldBack, OutboxStore, RelayStream } from '../../outbox/port.ts'
import type { SimulatedProcess } from './simulated-process.ts'

/** The outbox as one process reaches it. */
export class SimulatedOutboxStore implements OutboxStore {
  readonly #process: SimulatedProcess
  readonly #store: OutboxStore

  constructor(process: SimulatedProcess, store: OutboxStore) {
    this.#process = process
    this.#store = store
  }

  append(tx: Transaction, messages: readonly OutboxMessage[]): Promise<void> {
    return this.#store.append(tx, messages)
  }

  pending(): Promise<number> {
    return this.#process.call('pending', () => this.#store.pending(), connectionLost)
  }

  heldBack(): Promise<HeldBack> {
    return this.#process.call('held back', () => this.#store.heldBack(), connectionLost)
  }

  async openStream(stream: number): Promise<RelayStream> {
    const inner = await this.#process.call('open stream', () => this.#store.openStream(stream), connectionLost)
    const call = <T>(what: string, work: () => Promise<T>): Promise<T> => this.#process.call(`relay ${what}`, work, connectionLost)
    return {
      takeOver: (claim) => call('take-over', () => inner.takeOver(claim)),
      probe: (cur) => call('probe', () => inner.probe(cur)),
      tick: (even) => call('tick', () => inner.tick(even)),
      page: (tick, after, limit) => call(`page ${tick.tick} after ${after}`, () => inner.page(tick, after, limit)),
      checkpoint: (tick, page) => call(`checkpoint ${tick.tick} at ${page.last}`, () => inner.checkpoint(tick, page)),
      park: (tick, refused) => call('park', () => inner.park(tick, refused)),
      noteTopics: (topics) => call('note topics', () => inner.noteTopics(topics)),
      beat: () => call('beat', () => inner.beat()),
      close: (outcome) => call('close', () => inner.close(outcome)).catch(() => undefined),
    }
  }
}

export function connectionLost(): TidemarkError {
  return new TidemarkError('DATABASE_CONNECTION_LOST', 'The connection broke.')
}
