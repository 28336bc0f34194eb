import { bufferPublish } from '../consumer/index.ts'
import { TidemarkError } from '../errors.ts'
import { uuidv7 } from '../internal/uuid.ts'
import {
  type EventDefinition,
  type EventInput,
  type MessageOptions,
  type OutboxMessage,
  type Producer,
  createMessage,
} from '../message/index.ts'
import type { Transaction } from '../message/transaction.ts'
import type { OutboxStore } from '../outbox/index.ts'

/** One event to publish, for `publishAll`. */
export interface PublishEntry<Definition extends EventDefinition = EventDefinition> extends MessageOptions {
  readonly event: Definition
  readonly data: EventInput<Definition>
}

/**
 * Puts events into the outbox of the transaction they belong to.
 *
 * In the service's own transactions, handlers' included, messages wait to the end, so that every key is locked once, sorted, and as late as
 * possible. In a transaction the caller began they are written at once.
 */
export class Publisher {
  readonly #producer: Producer
  /** What was published in each of our own open transactions; ends with it. */
  readonly #buffers = new WeakMap<Transaction, Promise<OutboxMessage>[]>()

  constructor(source: string) {
    this.#producer = { source, now: () => new Date(), uuid: uuidv7 }
  }

  /** Buffers publishes in `tx` from now on. Returns a function that ends this and gives the messages, in order. */
  open(tx: Transaction): () => Promise<readonly OutboxMessage[]> {
    const buffer: Promise<OutboxMessage>[] = []
    this.#buffers.set(tx, buffer)
    return () => {
      this.#buffers.delete(tx)
      return Promise.all(buffer)
    }
  }

  async publish(outbox: OutboxStore, tx: Transaction, entries: readonly PublishEntry[]): Promise<void> {
    requireTransaction(tx)
    const made = entries.map(({ event, data, ...options }) => this.#make(event, data, options))
    const buffer = this.#buffers.get(tx)
    if (buffer !== undefined) buffer.push(...made)
    else if (!made.every((message) => bufferPublish(tx, message))) await outbox.append(tx, await Promise.all(made))
    await Promise.all(made)
  }

  async #make(event: EventDefinition, data: unknown, options: MessageOptions): Promise<OutboxMessage> {
    return createMessage(event, data, options, this.#producer)
  }
}

function requireTransaction(tx: Transaction): void {
  if (typeof tx?.query === 'function') return
  throw new TidemarkError('INPUT_INVALID', 'publish takes the transaction first, and got something without a query method.', {
    remedy:
      'Pass the tx of service.transaction or of a handler, or wrap your own client: pgTransaction(client), postgresJsTransaction(sql).',
  })
}
