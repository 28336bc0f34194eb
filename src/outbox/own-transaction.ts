import { TidemarkError } from '../errors.ts'
import { type Eventual, isPromiseLike } from '../message/eventual.ts'
import type { OutboxMessage } from '../message/outbox-message.ts'
import { type TransactionUse, transactionUse } from '../message/transaction-command.ts'
import type { Row, Transaction } from '../message/transaction.ts'
import { type AskedCommand, PublishBuffer } from './publish-buffer.ts'

/** Watches over what is asked in transactions. `place` is that of the one who asks. */
export interface TransactionWatch {
  /** A statement is asked for. Throws when it may not be. */
  asks(place: number): void
  /** The client itself is wanted, or several commands at once, whose statements nobody can watch. Throws when it may not be. */
  wantsRaw(place: number): void
  /** A message is published that is still being made. */
  makes(place: number): void
  /** A statement that was asked for has been answered, or a message has been made. */
  answered(place: number, failed: boolean): void
  /** Makes the answer to what is not taken. `late`: it came after the end. */
  refuses(place: number, error: unknown, late: boolean): Promise<never>
}

/**
 * A transaction that Tidemark begins and ends, as those see it who work in it. What they publish waits for the end; commands that would end it
 * are refused; and after the end of their work nothing is taken any more.
 */
export class OwnTransaction implements Transaction {
  readonly #tx: Transaction
  readonly #watch: TransactionWatch
  readonly #place: number
  #published: PublishBuffer | null = null
  #closed = false

  constructor(tx: Transaction, watch: TransactionWatch, place: number) {
    this.#tx = tx
    this.#watch = watch
    this.#place = place
  }

  query<R extends Row = Row>(text: string, params?: readonly unknown[]): Promise<R[]> {
    if (this.#closed) return this.#late('tx.query')
    let use: TransactionUse | null
    try {
      use = transactionUse(text, params)
      if (use?.isScript === true) this.#watch.wantsRaw(this.#place)
      this.#watch.asks(this.#place)
    } catch (error) {
      return this.#watch.refuses(this.#place, error, false)
    }
    const answer = this.#tx.query<R>(text, params)
    const savepoint = use?.savepoint ?? null
    const command = savepoint === null ? null : this.#buffer.asks(savepoint)
    answer.then(
      () => this.#answered(command, false),
      () => this.#answered(command, true),
    )
    return answer
  }

  /** Savepoints made or rolled back to by the client itself are not seen: what was published since stays published. */
  get raw(): unknown {
    if (this.#closed) {
      const error = afterEnd('tx.raw')
      void this.#watch.refuses(this.#place, error, true)
      throw error
    }
    this.#watch.wantsRaw(this.#place)
    return this.#tx.raw
  }

  /** Keeps messages for the end. Resolves when they are made, and rejects when one cannot be, which fails the transaction, too. */
  publish(messages: readonly Eventual<OutboxMessage>[]): Promise<void> {
    if (this.#closed) return this.#late('publish')
    for (const message of messages) {
      this.#buffer.add(message)
      if (message instanceof Promise) this.#awaits(message)
    }
    const made = allMade(messages).then(() => undefined)
    // Whoever publishes may await it, or not: the transaction fails by it in either case.
    made.catch(() => undefined)
    return made
  }

  /** What was published and not taken back, when all is answered. `null`: nothing. Throws when nobody can tell. */
  get published(): readonly Eventual<OutboxMessage>[] | null {
    return this.#published === null ? null : this.#published.messages
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /** The work in it has ended. */
  close(): void {
    this.#closed = true
  }

  get #buffer(): PublishBuffer {
    return (this.#published ??= new PublishBuffer())
  }

  #awaits(message: Promise<OutboxMessage>): void {
    this.#watch.makes(this.#place)
    message.then(
      () => this.#watch.answered(this.#place, false),
      () => this.#watch.answered(this.#place, true),
    )
  }

  #answered(command: AskedCommand | null, failed: boolean): void {
    const isKnown = command === null || this.#published!.answered(command, !failed)
    this.#watch.answered(this.#place, failed || !isKnown)
  }

  #late(what: string): Promise<never> {
    return this.#watch.refuses(this.#place, afterEnd(what), true)
  }
}

/**
 * Publishes in a handler's transaction: the message is appended when the batch ends, in the order of the messages handled. A promise is awaited
 * first, and its rejection is a failure of the handler. `false`: the transaction is not one of a consumer's handlers, nor a service's own.
 * Throws `TRANSACTION_CLOSED` after the handler has ended.
 */
export function bufferPublish(tx: Transaction, message: OutboxMessage | Promise<OutboxMessage>): boolean {
  if (!(tx instanceof OwnTransaction)) return false
  const isLate = tx.isClosed
  void tx.publish([message])
  if (isLate) throw afterEnd('publish')
  return true
}

/** The messages in their order, made. */
export async function allMade(messages: readonly Eventual<OutboxMessage>[]): Promise<OutboxMessage[]> {
  const made: OutboxMessage[] = []
  for (const message of messages) made.push(isPromiseLike(message) ? await message : message)
  return made
}

/** A rejection that need not be taken. */
export function refusal(error: unknown): Promise<never> {
  const refused = Promise.reject(error)
  refused.catch(() => undefined)
  return refused
}

function afterEnd(what: string): TidemarkError {
  return new TidemarkError('TRANSACTION_CLOSED', `${what} was used after the handler, or the work of the transaction, had ended.`, {
    remedy: 'Await everything you start before you return.',
  })
}
