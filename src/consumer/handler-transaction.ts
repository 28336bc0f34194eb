import { TidemarkError } from '../errors.ts'
import type { OutboxMessage } from '../message/outbox-message.ts'
import type { Row, Transaction } from '../message/transaction.ts'

/**
 * Watches over the statements of handlers that run side by side in one transaction. Their outcome counts only if it is the one of running them
 * one after the other; statements are executed in the order they were asked for, so that holds as long as that order is the handlers' own.
 */
export interface StatementWatch {
  /** The handler at this place asks for a statement. Throws when that would break the order, or when the run is over. */
  asks(place: number): void
  /** It wants the client itself, whose statements nobody can watch. Throws unless it runs alone. */
  wantsRaw(place: number): void
  /** A statement that was asked for has been answered. */
  answered(place: number, failed: boolean): void
}

/** The transaction as one handler sees it. */
export class HandlerTransaction implements Transaction {
  readonly #tx: Transaction
  readonly #watch: StatementWatch
  readonly #place: number
  #published: (OutboxMessage | Promise<OutboxMessage>)[] | null = null
  #closed = false
  /** A text of several commands is under way; what is asked later must not overtake it. */
  #script: Promise<unknown> | null = null

  constructor(tx: Transaction, watch: StatementWatch, place: number) {
    this.#tx = tx
    this.#watch = watch
    this.#place = place
  }

  query<R extends Row = Row>(text: string, params?: readonly unknown[]): Promise<R[]> {
    const isScript = params === undefined && text.includes(';')
    try {
      if (this.#closed) throw afterEnd('tx.query')
      refuseEndings(text)
      // A text of several commands goes alone, and a driver may send later statements before it.
      if (isScript) this.#watch.wantsRaw(this.#place)
      this.#watch.asks(this.#place)
    } catch (error) {
      const refused = Promise.reject<R[]>(error)
      refused.catch(() => undefined)
      return refused
    }
    const answer = this.#script === null ? this.#tx.query<R>(text, params) : this.#script.then(() => this.#tx.query<R>(text, params))
    if (isScript) this.#script = answer.catch(() => undefined)
    answer.then(
      () => this.#watch.answered(this.#place, false),
      () => this.#watch.answered(this.#place, true),
    )
    return answer
  }

  get raw(): unknown {
    if (this.#closed) throw afterEnd('tx.raw')
    this.#watch.wantsRaw(this.#place)
    return this.#tx.raw
  }

  /** Keeps a message for the end of the batch. */
  publish(message: OutboxMessage | Promise<OutboxMessage>): void {
    if (this.#closed) throw afterEnd('publish')
    // Awaited at the end; its publisher may await it, too, or not.
    if (message instanceof Promise) message.catch(() => undefined)
    this.#published ??= []
    this.#published.push(message)
  }

  /** What was published. `null`: nothing. */
  get published(): readonly (OutboxMessage | Promise<OutboxMessage>)[] | null {
    return this.#published
  }

  /** The handler has ended. */
  close(): void {
    this.#closed = true
  }
}

/**
 * Adds a message to what the handler of this transaction publishes: it is appended when the batch ends, in the order of the messages handled.
 * A promise is awaited first, and its rejection is a failure of the handler. `false`: the transaction is not one of a consumer's handlers.
 */
export function bufferPublish(tx: Transaction, message: OutboxMessage | Promise<OutboxMessage>): boolean {
  if (!(tx instanceof HandlerTransaction)) return false
  tx.publish(message)
  return true
}

/** Begins or ends a transaction; `rollback to` a savepoint does not. Comments before it are skipped. */
const ending =
  /^(?:\s|--[^\n]*\n|\/\*(?:[^*]|\*(?!\/))*\*\/)*(?:begin|start\s+transaction|commit|end|abort|prepare\s+transaction|rollback(?!\s+(?:(?:work|transaction)\s+)?to\b))\b/i

function refuseEndings(text: string): void {
  // Most statements begin with another letter, and a test of one character is all they cost.
  if (!ending.test(text)) return
  throw new TidemarkError('INPUT_INVALID', 'A handler tried to begin or end the transaction it runs in.', {
    remedy: 'Throw to undo everything, or use savepoints.',
  })
}

function afterEnd(what: string): TidemarkError {
  return new TidemarkError('TRANSACTION_CLOSED', `${what} was used after the handler had ended.`, {
    remedy: 'Await everything a handler starts before it returns.',
  })
}
