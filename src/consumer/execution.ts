import { TidemarkError } from '../errors.ts'
import { handling } from '../message/ambient.ts'
import { isPromiseLike } from '../message/eventual.ts'
import type { Message } from '../message/message.ts'
import type { OutboxMessage } from '../message/outbox-message.ts'
import type { Handler, HandlerContext } from './handler.ts'
import { HandlerTransaction, type StatementWatch } from './handler-transaction.ts'
import { MessageChance } from './message-chance.ts'
import type { BatchTransaction } from './port.ts'

/** One call of a handler: a message, or a run of messages for a batch handler. */
export interface Call {
  readonly handler: Handler
  readonly messages: readonly Message[]
  readonly identity: string
  readonly timestamp: number
  /** Wire bytes as latin-1. */
  readonly keys: readonly string[]
  /** Runs with no other beside it. */
  readonly exclusive: boolean
}

export type ExecutionOutcome =
  | { readonly outcome: 'done'; readonly publish: readonly OutboxMessage[] }
  /** The outcome might differ from running one by one, or nobody can tell who failed. `by`: the handler that cannot run beside others. */
  | { readonly outcome: 'abandoned'; readonly by: Handler | null }
  /** An exclusive call failed, with nothing else under way. */
  | { readonly outcome: 'failed'; readonly call: number; readonly error: unknown }

/** What an execution needs of its surroundings. */
export interface ExecutionSettings {
  readonly attempt: number
  /** Aborted by the execution when it is abandoned, so that handlers need not go on. */
  readonly run: AbortController
}

/**
 * Runs the calls of a batch in one transaction, side by side as far as nobody can tell the difference to one after the other.
 *
 * A call starts when all former ones have started, and those of its keys have ended. Statements leave in the order they are asked for, many in
 * one round trip: that is what makes a handler per message cheap. An `exclusive` call waits for all former ones, and all later ones for it.
 */
export class Execution implements StatementWatch {
  readonly #calls: readonly Call[]
  readonly #batch: BatchTransaction
  readonly #settings: ExecutionSettings
  readonly #transactions: HandlerTransaction[] = []
  readonly #busyKeys = new Set<string>()
  #next = 0
  #running = 0
  #unanswered = 0
  #exclusive = false
  /** The last call that asked for a statement. */
  #highest = -1
  #stopped: ExecutionOutcome | null = null
  #end: () => void = () => undefined
  readonly #ended: Promise<void>
  #onQuiet: () => void = () => undefined

  constructor(calls: readonly Call[], batch: BatchTransaction, settings: ExecutionSettings) {
    this.#calls = calls
    this.#batch = batch
    this.#settings = settings
    this.#ended = new Promise((resolve) => (this.#end = resolve))
  }

  /** Resolves when no handler and no statement is under way any more. Never rejects. */
  async run(): Promise<ExecutionOutcome> {
    this.#pump()
    await this.#ended
    return this.#stopped ?? { outcome: 'done', publish: await this.#published() }
  }

  /** Nothing of it counts any more, and nothing more is taken; handlers that do not end are not waited for. */
  abandon(): void {
    this.#abandon(null)
  }

  asks(place: number): void {
    if (this.#stopped !== null) throw abandoned()
    if (place < this.#highest) {
      this.#abandon(this.#calls[place]!.handler)
      throw abandoned()
    }
    this.#highest = place
    this.#unanswered += 1
  }

  wantsRaw(place: number): void {
    if (this.#stopped !== null) throw abandoned()
    if (this.#calls[place]!.exclusive) return
    this.#abandon(this.#calls[place]!.handler)
    throw abandoned()
  }

  answered(place: number, failed: boolean): void {
    this.#unanswered -= 1
    // Alone, a handler may guard a statement by a savepoint; beside others its failure takes theirs along.
    if (failed && !this.#calls[place]!.exclusive) this.#abandon(this.#calls[place]!.handler)
    if (this.#unanswered === 0) this.#onQuiet()
    this.#endIfIdle()
  }

  #pump(): void {
    while (this.#stopped === null && !this.#exclusive && this.#next < this.#calls.length) {
      const call = this.#calls[this.#next]!
      if (call.exclusive ? this.#running > 0 : call.keys.some((key) => this.#busyKeys.has(key))) break
      this.#start(this.#next++, call)
    }
    this.#endIfIdle()
  }

  #start(place: number, call: Call): void {
    const tx = new HandlerTransaction(this.#batch.tx, this, place)
    this.#transactions.push(tx)
    this.#running += 1
    this.#exclusive = call.exclusive
    for (const key of call.keys) this.#busyKeys.add(key)
    let result: unknown
    try {
      const context = new CallContext(tx, call, this.#settings)
      result = handling(call.messages[0]!, () => call.handler.run(call.messages, context))
    } catch (error) {
      this.#finish(place, call, tx, { error })
      return
    }
    if (call.exclusive) void this.#settle(place, call, tx, result)
    else if (isPromiseLike(result)) {
      result.then(
        () => this.#returned(place, call, tx),
        (error: unknown) => this.#finish(place, call, tx, { error }),
      )
    } else this.#returned(place, call, tx)
  }

  /** A handler that ran beside others has returned. Most have published nothing, or nothing that is still to come. */
  #returned(place: number, call: Call, tx: HandlerTransaction): void {
    if (tx.published?.some(isPromiseLike) === true) void this.#settle(place, call, tx, undefined)
    else this.#finish(place, call, tx, null)
  }

  async #settle(place: number, call: Call, tx: HandlerTransaction, result: unknown): Promise<void> {
    try {
      await result
      // A publish that was refused is a failure, whoever swallowed its error.
      if (tx.published !== null) await Promise.all(tx.published.map((message) => Promise.resolve(message)))
      if (call.exclusive) {
        await this.#quiet()
        await this.#requireOpen()
      }
    } catch (error) {
      this.#finish(place, call, tx, { error })
      return
    }
    this.#finish(place, call, tx, null)
  }

  #finish(place: number, call: Call, tx: HandlerTransaction, failure: { readonly error: unknown } | null): void {
    tx.close()
    this.#running -= 1
    for (const key of call.keys) this.#busyKeys.delete(key)
    if (call.exclusive) this.#exclusive = false
    if (failure !== null && call.exclusive) this.#stopped ??= { outcome: 'failed', call: place, error: failure.error }
    else if (failure !== null) this.#abandon(null)
    this.#pump()
  }

  /** What the handler asked for and did not wait for belongs to it all the same. */
  #quiet(): Promise<void> {
    if (this.#unanswered === 0) return Promise.resolve()
    return new Promise((resolve) => (this.#onQuiet = resolve))
  }

  /** A handler that swallowed an error of the database, or ended the transaction, has failed. */
  async #requireOpen(): Promise<void> {
    const status = await this.#batch.status()
    if (status === 'open') return
    if (status === 'failed') {
      throw new TidemarkError('TRANSACTION_ABORTED', 'A statement of the handler failed, and the handler went on as if it had not.', {
        remedy: 'Do not swallow errors of tx.query, or guard the statement by a savepoint.',
      })
    }
    throw new TidemarkError('TRANSACTION_CLOSED', 'The handler ended the transaction it ran in.', {
      remedy: 'Throw to undo everything, or use savepoints.',
    })
  }

  #abandon(by: Handler | null): void {
    if (this.#stopped !== null) return
    this.#stopped = { outcome: 'abandoned', by }
    this.#settings.run.abort()
  }

  #endIfIdle(): void {
    if (this.#running > 0 || this.#unanswered > 0) return
    if (this.#stopped !== null || this.#next === this.#calls.length) this.#end()
  }

  async #published(): Promise<OutboxMessage[]> {
    const messages: OutboxMessage[] = []
    // All of them are there: no call has ended before its own were.
    for (const tx of this.#transactions) for (const message of tx.published ?? []) messages.push(await message)
    return messages
  }
}

class CallContext extends MessageChance implements HandlerContext {
  readonly tx: HandlerTransaction
  readonly mode = 'live'
  readonly attempt: number
  readonly signal: AbortSignal

  constructor(tx: HandlerTransaction, call: Call, settings: ExecutionSettings) {
    super(call.identity, call.timestamp)
    this.tx = tx
    this.attempt = settings.attempt
    this.signal = settings.run.signal
  }
}

function abandoned(): TidemarkError {
  return new TidemarkError('TRANSACTION_ABORTED', 'This run of the batch is abandoned; its messages will be run again, one at a time.')
}
