import { TidemarkError } from '../errors.ts'
import { deferred } from '../internal/deferred.ts'
import { handling } from '../message/ambient.ts'
import { isPromiseLike } from '../message/eventual.ts'
import type { Message } from '../message/message.ts'
import type { OutboxMessage } from '../message/outbox-message.ts'
import { OwnTransaction, type TransactionWatch, allMade, refusal } from '../outbox/own-transaction.ts'
import type { Handler, HandlerContext } from './handler.ts'
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
export class Execution implements TransactionWatch {
  readonly #calls: readonly Call[]
  readonly #batch: BatchTransaction
  readonly #settings: ExecutionSettings
  readonly #transactions: OwnTransaction[] = []
  readonly #busyKeys = new Set<string>()
  #next = 0
  #running = 0
  /** Statements asked for, and messages being made for publishing. */
  #unanswered = 0
  #exclusive = false
  /** The last call that asked for a statement. */
  #highest = -1
  #stopped: ExecutionOutcome | null = null
  /** What handlers asked for in vain after the run was abandoned, to be answered when they do nothing but wait for it. */
  #refusals: (() => void)[] = []
  #isEnding = false
  #isOver = false
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

  makes(): void {
    this.#unanswered += 1
  }

  answered(place: number, failed: boolean): void {
    this.#unanswered -= 1
    // Alone, a handler may guard a statement by a savepoint; beside others its failure takes theirs along.
    if (failed && !this.#calls[place]!.exclusive) this.#abandon(this.#calls[place]!.handler)
    if (this.#unanswered === 0) this.#onQuiet()
    this.#endIfIdle()
  }

  /**
   * Somebody who comes after his end has left something unfinished that belongs to his message, which fails by it as long as that can be.
   *
   * A run that is abandoned will be done again, so whoever has ended in it needs no answer; and those who go on get theirs last, since a
   * rejection that they do not take would end the process for what is no fault of theirs.
   */
  refuses(place: number, error: unknown, late: boolean): Promise<never> {
    if (late && !this.#isOver) this.#fail(place, error)
    if (this.#stopped?.outcome !== 'abandoned') return refusal(error)
    const answer = deferred<never>()
    if (late) return answer.promise
    answer.promise.catch(() => undefined)
    this.#refusals.push(() => {
      if (!this.#transactions[place]!.isClosed) answer.reject(error)
    })
    this.#endIfIdle()
    return answer.promise
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
    const tx = new OwnTransaction(this.#batch.tx, this, place)
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
        () => this.#finish(place, call, tx, null),
        (error: unknown) => this.#finish(place, call, tx, { error }),
      )
    } else this.#finish(place, call, tx, null)
  }

  /**
   * What a handler that runs alone asked for and did not wait for belongs to it all the same, and so does what it asks for when that is answered.
   */
  async #settle(place: number, call: Call, tx: OwnTransaction, result: unknown): Promise<void> {
    try {
      await result
      do {
        await this.#quiet()
        await this.#requireOpen()
      } while (this.#unanswered > 0)
      // A publish that was refused is a failure, whoever swallowed its error.
      await allMade(tx.published ?? [])
    } catch (error) {
      this.#finish(place, call, tx, { error })
      return
    }
    this.#finish(place, call, tx, null)
  }

  #finish(place: number, call: Call, tx: OwnTransaction, failure: { readonly error: unknown } | null): void {
    tx.close()
    this.#running -= 1
    for (const key of call.keys) this.#busyKeys.delete(key)
    if (call.exclusive) this.#exclusive = false
    if (failure !== null && call.exclusive) this.#fail(place, failure.error)
    else if (failure !== null) this.#abandon(null)
    this.#pump()
  }

  /** Resolves when nothing is unanswered and the answers have led to nothing more. */
  async #quiet(): Promise<void> {
    do {
      if (this.#unanswered > 0) await new Promise<void>((resolve) => (this.#onQuiet = resolve))
      await turn()
    } while (this.#unanswered > 0)
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

  /** Beside others nobody can tell what a failure took along. */
  #fail(place: number, error: unknown): void {
    const { exclusive, handler } = this.#calls[place]!
    if (exclusive) this.#stopped ??= { outcome: 'failed', call: place, error }
    else this.#abandon(handler)
  }

  #abandon(by: Handler | null): void {
    if (this.#stopped !== null) return
    this.#stopped = { outcome: 'abandoned', by }
    this.#settings.run.abort()
  }

  #endIfIdle(): void {
    if (this.#isEnding || this.#unanswered > 0) return
    const isDone = this.#stopped !== null || this.#next === this.#calls.length
    if (this.#running > 0 ? this.#refusals.length === 0 : !isDone) return
    this.#isEnding = true
    // A turn later: what was answered last may have led to more. Nobody else comes between that turn and the commit.
    setImmediate(() => this.#ending())
  }

  #ending(): void {
    this.#isEnding = false
    if (this.#unanswered > 0) return
    const refusals = this.#refusals
    this.#refusals = []
    for (const refuse of refusals) refuse()
    if (this.#running > 0) return
    this.#isOver = true
    this.#end()
  }

  async #published(): Promise<OutboxMessage[]> {
    const messages: OutboxMessage[] = []
    for (const { published } of this.#transactions) if (published !== null) messages.push(...(await allMade(published)))
    return messages
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

class CallContext extends MessageChance implements HandlerContext {
  readonly tx: OwnTransaction
  readonly mode = 'live'
  readonly attempt: number
  readonly signal: AbortSignal

  constructor(tx: OwnTransaction, call: Call, settings: ExecutionSettings) {
    super(call.identity, call.timestamp)
    this.tx = tx
    this.attempt = settings.attempt
    this.signal = settings.run.signal
  }
}

function abandoned(): TidemarkError {
  return new TidemarkError('TRANSACTION_ABORTED', 'This run of the batch is abandoned; its messages will be run again, one at a time.')
}
