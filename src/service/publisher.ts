import { TidemarkError } from '../errors.ts'
import { uuidv7 } from '../internal/uuid.ts'
import type { Eventual } from '../message/eventual.ts'
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
import { OwnTransaction, allMade, refusal } from '../outbox/own-transaction.ts'

/** One event to publish, for `publishAll`. */
export interface PublishEntry<Definition extends EventDefinition = EventDefinition> extends MessageOptions {
  readonly event: Definition
  readonly data: EventInput<Definition>
}

/**
 * Puts events into the outbox of the transaction they belong to.
 *
 * In the service's own transactions, handlers' included, messages wait to the end, so that every key is locked once, sorted, and as late as
 * possible. They are taken within the call, since their handler may end right after it. In a transaction the caller began they are written at once.
 */
export class Publisher {
  readonly #producer: Producer

  constructor(source: string) {
    this.#producer = { source, now: () => new Date(), uuid: uuidv7 }
  }

  /** `outbox` is asked for only where messages are written at once. */
  publish(tx: Transaction, entries: readonly PublishEntry[], outbox: () => Promise<OutboxStore>): Promise<void> {
    if (typeof tx?.query !== 'function') return Promise.reject(noTransaction())
    const made = entries.map(({ event, data, ...options }) => this.#make(event, data, options))
    return tx instanceof OwnTransaction ? tx.publish(made) : append(tx, made, outbox)
  }

  #make(event: EventDefinition, data: unknown, options: MessageOptions): Eventual<OutboxMessage> {
    try {
      const message = createMessage(event, data, options, this.#producer)
      // Several may fail, and only the first one is awaited.
      if (message instanceof Promise) message.catch(() => undefined)
      return message
    } catch (error) {
      return refusal(error)
    }
  }
}

async function append(tx: Transaction, made: readonly Eventual<OutboxMessage>[], outbox: () => Promise<OutboxStore>): Promise<void> {
  const store = await outbox()
  await store.append(tx, await allMade(made))
}

function noTransaction(): TidemarkError {
  return new TidemarkError('INPUT_INVALID', 'publish takes the transaction first, and got something without a query method.', {
    remedy:
      'Pass the tx of service.transaction or of a handler, or wrap your own client: pgTransaction(client), postgresJsTransaction(sql).',
  })
}
