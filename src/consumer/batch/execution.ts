import { TidemarkError } from '../../errors.ts'
import type { Clock } from '../../internal/clock.ts'
import { deferred } from '../../internal/deferred.ts'
import { handling } from '../../message/ambient.ts'
import { isPromiseLike } from '../../message/eventual.ts'
import type { OutboxMessage } from '../../message/outbox-message.ts'
import { OwnTransaction, type TransactionWatch, allMade, refusal } from '../../outbox/own-transaction.ts'
import { type Call, singles } from './call.ts'
import type { Handler, HandlerContext } from '../handler.ts'
import { MessageChance } from './message-chance.ts'
import type { Task } from './plan.ts'
import type { HandlerTransaction } from '../port.ts'
import { TimeLimits } from './time-limits.ts'

export type ExecutionOutcome =
  | {
      readonly outcome: 'done'
      readonly publish: readonly OutboxMessage[]
      /** Calls that have failed for now left nothing behind. */
      readonly failed: ReadonlySet<Task>
      /** Did not run, since an earlier message of their key has failed. In their order. */
      readonly held: readonly Task[]
    }
  /**
   * The outcome might differ from running one by one, or what failed cannot be undone by itself. `by`: the handler that cannot run beside others.
   * `culprits`: what failed, as far as that was seen; `undoable`, they do not spoil the next run.
   */
  | { readonly outcome: 'abandoned'; readonly by: Handler | null; readonly culprits: readonly Task[] }
  /** An exclusive call failed, with nothing else under way, and what it did cannot be undone by itself. */
  | { readonly outcome: 'failed'; readonly call: Call; readonly error: unknown }
  /** A handler takes too long, and is not waited for. `alone`: nothing else was under way, so it is nobody else's fault. */
  | { readonly outcome: 'overdue'; readonly call: Call; readonly alone: boolean; readonly error: TidemarkError }

/** What to do about a message whose handler failed, with nothing left behind. */
export type AfterFailure =
  /** Run it once more, after all others. */
  | 'again'
  /** It is done with for now; others of its key wait behind it. */
  | 'queue'
  /** It is done with, and others of its key go on. */
  | 'go on'

/** What an execution needs of its surroundings. */
export interface ExecutionSettings {
  /** Of the consumer. */
  readonly group: string
  /** Aborted by the execution when it is abandoned, so that handlers need not go on. */
  readonly run: AbortController
  readonly clock: Clock
  /** May a call that runs by itself take the client? What it does with it, and to the transaction, is not seen. */
  readonly allowsRaw: boolean
  /** Which charged run this is of the call's first message, in this topic. */
  attempt(call: Call): number
  timeoutMs(handler: Handler): number
  /** `tries`: how often it has run here, from 1. */
  failed(task: Task, tries: number, error: unknown): AfterFailure
  succeeded(handler: Handler): void
}

/**
 * Runs the calls of a batch in one transaction, side by side as far as nobody can tell the difference to one after the other.
 *
 * A call starts when all former ones have started, and those of its keys have ended. Statements leave in the order they are asked for, many in
 * one round trip: that is what makes a handler per message cheap. A call that runs alone waits for all former ones, and all later ones for it.
 *
 * A call that fails before it has asked for anything has left nothing behind, and neither has one that was undone. It is run again behind
 * the others, with those of its key behind it; or they are left out, as `failed` says. So a few failures do not cost the batch. One that fails later
 * and is not undoable spoils the run: it goes on to its end for the sake of finding all others that do, and is abandoned.
 */
export class Execution implements TransactionWatch {
  /** Grows at its end by calls that come again. */
  readonly #calls: Call[]
  readonly #batch: HandlerTransaction
  readonly #settings: ExecutionSettings
  /** By place. */
  readonly #transactions = new Map<number, OwnTransaction>()
  readonly #busyKeys = new Set<string>()
  /** Keys of calls that were put behind, and the place of the first of them. */
  readonly #behind = new Map<string, number>()
  /** Keys of which a message has failed, with others behind it. */
  readonly #waitingKeys = new Set<string>()
  readonly #failed = new Set<Task>()
  readonly #held: Task[] = []
  /** Places of calls that have failed and left nothing behind. */
  readonly #without = new Set<number>()
  /** Places of calls that have asked for something. */
  readonly #asked = new Set<number>()
  #next = 0
  #running = 0
  /** Statements asked for, and messages being made for publishing. */
  #unanswered = 0
  #exclusive = false
  /** The last call that asked for a statement. */
  #highest = -1
  #stopped: ExecutionOutcome | null = null
  /** Have failed, and what they did is still there. */
  readonly #culprits: Task[] = []
  /** What handlers asked for in vain after the run was abandoned, to be answered when they do nothing but wait for it. */
  #refusals: (() => void)[] = []
  #answersAreLimited = false
  #isEnding = false
  #isOver = false
  #end: () => void = () => undefined
  readonly #ended: Promise<void>
  #onQuiet: () => void = () => undefined
  readonly #limits: TimeLimits<Call>
  #isLate = false

  constructor(calls: readonly Call[], batch: HandlerTransaction, settings: ExecutionSettings) {
    this.#calls = [...calls]
    this.#batch = batch
    this.#settings = settings
    this.#ended = new Promise((resolve) => (this.#end = resolve))
    this.#limits = new TimeLimits(settings.clock, (call, ms) => this.#overdue(call, ms))
  }

  /** Resolves when no handler and no statement is under way any more, or when they take too long. Never rejects. */
  async run(): Promise<ExecutionOutcome> {
    this.#pump()
    await this.#ended
    this.#limits.stop()
    if (this.#stopped?.outcome === 'abandoned') return { ...this.#stopped, culprits: this.#culprits }
    if (this.#stopped !== null) return this.#stopped
    if (this.#culprits.length > 0) return { outcome: 'abandoned', by: null, culprits: this.#culprits }
    return { outcome: 'done', publish: await this.#published(), failed: this.#failed, held: this.#held }
  }

  /** Handlers, or statements of theirs, may be under way still. */
  get isLate(): boolean {
    return this.#isLate
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
    this.#touches(place)
    this.#highest = place
    this.#unanswered += 1
  }

  wantsRaw(place: number): void {
    if (this.#stopped !== null) throw abandoned()
    this.#touches(place)
    if (isAlone(this.#calls[place]!) && this.#settings.allowsRaw) return
    this.#abandon(this.#calls[place]!.handler)
    throw abandoned()
  }

  makes(): void {
    this.#unanswered += 1
  }

  answered(place: number, failed: boolean): void {
    this.#unanswered -= 1
    // Alone, a handler may guard a statement by a savepoint; beside others its failure takes theirs along.
    if (failed && !isAlone(this.#calls[place]!) && !this.#without.has(place)) this.#takesAlong(this.#calls[place]!)
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
    if (late && !this.#isOver && !this.#without.has(place)) this.#fail(place, error)
    if (this.#stopped?.outcome !== 'abandoned') return refusal(error)
    const answer = deferred<never>()
    if (late) return answer.promise
    answer.promise.catch(() => undefined)
    this.#refusals.push(() => {
      if (this.#transactions.get(place)?.isClosed !== true) answer.reject(error)
    })
    this.#endIfIdle()
    return answer.promise
  }

  #pump(): void {
    while (this.#stopped === null && !this.#exclusive && this.#next < this.#calls.length) {
      const call = this.#calls[this.#next]!
      if (isAlone(call) ? this.#running > 0 : call.keys.some((key) => this.#busyKeys.has(key))) break
      const place = this.#next++
      if (this.#mayStart(place, call)) this.#start(place, call)
    }
    this.#endIfIdle()
  }

  /** Not what waits behind a failed message of its key: that is left out, or comes behind it. */
  #mayStart(place: number, call: Call): boolean {
    if (this.#waitingKeys.size > 0 && call.keys.some((key) => this.#waitingKeys.has(key))) {
      for (const single of singles(call)) {
        if (this.#waitingKeys.has(single.keys[0] ?? '')) this.#held.push(single.tasks[0]!)
        else this.#putBehind(single)
      }
      return false
    }
    if (this.#behind.size === 0) return true
    if (call.keys.some((key) => (this.#behind.get(key) ?? -1) > place)) {
      this.#putBehind(call)
      return false
    }
    for (const key of call.keys) if (this.#behind.get(key) === place) this.#behind.delete(key)
    return true
  }

  #putBehind(call: Call): void {
    const place = this.#calls.push(call) - 1
    for (const key of call.keys) if (!this.#behind.has(key)) this.#behind.set(key, place)
  }

  #start(place: number, call: Call): void {
    const tx = new OwnTransaction(this.#batch.tx, this, place)
    this.#transactions.set(place, tx)
    this.#running += 1
    this.#exclusive = isAlone(call)
    this.#limits.start(place, call, this.#settings.timeoutMs(call.handler))
    for (const key of call.keys) this.#busyKeys.add(key)
    let result: unknown
    try {
      const context = new CallContext(tx, call, this.#settings)
      result = handling(call.messages[0]!, () => call.handler.run(call.messages, context), this.#settings.group)
    } catch (error) {
      this.#finish(place, call, tx, { error })
      return
    }
    if (isAlone(call)) void this.#settle(place, call, tx, result)
    else if (isPromiseLike(result)) {
      result.then(
        () => this.#finish(place, call, tx, null),
        (error: unknown) => this.#finish(place, call, tx, { error }),
      )
    } else this.#finish(place, call, tx, null)
  }

  #overdue(call: Call, ms: number): void {
    if (this.#isOver) return
    const error = overdue(ms)
    this.#stopped ??= { outcome: 'overdue', call, alone: this.#calls.every(isAlone), error }
    this.#settings.run.abort(error)
    this.#isLate = true
    this.#isOver = true
    this.#end()
  }

  /** Before a call's first statement. */
  #touches(place: number): void {
    if (this.#asked.has(place)) return
    this.#asked.add(place)
    if (this.#calls[place]!.manner === 'undoable') this.#batch.mark()
  }

  /**
   * What a handler that runs alone asked for and did not wait for belongs to it all the same, and so does what it asks for when that is answered.
   */
  async #settle(place: number, call: Call, tx: OwnTransaction, result: unknown): Promise<void> {
    try {
      await result
      do {
        await this.#quiet()
        if (this.#asked.has(place)) await this.#requireOpen()
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
    if (this.#isOver) return
    this.#limits.end(place)
    if (failure === null) {
      this.#settings.succeeded(call.handler)
      this.#leave(call)
    } else if (!this.#asked.has(place)) {
      this.#without.add(place)
      this.#setAside(call, failure.error)
      this.#leave(call)
    } else if (isAlone(call)) {
      void this.#undo(place, call, failure.error)
    } else {
      this.#spoil(call)
      this.#leave(call)
    }
  }

  #leave(call: Call): void {
    this.#running -= 1
    for (const key of call.keys) this.#busyKeys.delete(key)
    if (isAlone(call)) this.#exclusive = false
    this.#pump()
  }

  /** A call that ran alone has failed. What it did is undone by itself, or with everything else. */
  async #undo(place: number, call: Call, error: unknown): Promise<void> {
    const isTheirs = this.#batch.blame(error) === 'handler'
    const mayGoOn = isTheirs && (await (call.manner === 'undoable' ? this.#batch.undo().catch(() => false) : this.#isOpen()))
    if (this.#isOver) return
    if (mayGoOn && call.manner === 'undoable') {
      this.#without.add(place)
      this.#setAside(call, error)
    } else if (mayGoOn) {
      this.#spoil(call)
    } else if (isTheirs && call.manner !== 'undoable') {
      this.#takesAlong(call)
    } else {
      this.#stopped ??= { outcome: 'failed', call, error }
      this.#settings.run.abort()
    }
    this.#leave(call)
  }

  /** It has failed, and nothing of it is left. */
  #setAside(call: Call, error: unknown): void {
    if (this.#stopped !== null) return
    if (call.tasks.length > 1) {
      // Nobody knows which of them it was.
      for (const single of singles(call)) this.#putBehind(single)
      return
    }
    const task = call.tasks[0]!
    const then = this.#settings.failed(task, call.tries, error)
    if (then === 'again') return this.#putBehind({ ...call, tries: call.tries + 1 })
    this.#failed.add(task)
    if (then === 'queue') for (const key of call.keys) this.#waitingKeys.add(key)
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

  /** It has failed and left something behind. The run counts no more; those that follow in its keys are not asked. */
  #spoil(call: Call): void {
    // Who fails in a run that is abandoned fails by that.
    if (this.#stopped !== null) return
    this.#culprits.push(...call.tasks)
    for (const key of call.keys) this.#waitingKeys.add(key)
  }

  /** It has failed and taken the transaction along. */
  #takesAlong(call: Call): void {
    if (this.#stopped === null) this.#culprits.push(...call.tasks)
    this.#abandon(null)
  }

  async #isOpen(): Promise<boolean> {
    return (await this.#batch.status().catch(() => 'none')) === 'open'
  }

  /** Beside others nobody can tell what a failure took along. */
  #fail(place: number, error: unknown): void {
    const call = this.#calls[place]!
    if (isAlone(call)) this.#stopped ??= { outcome: 'failed', call, error }
    else this.#abandon(call.handler)
  }

  #abandon(by: Handler | null): void {
    if (this.#stopped !== null) return
    this.#stopped = { outcome: 'abandoned', by, culprits: [] }
    this.#settings.run.abort()
  }

  #endIfIdle(): void {
    if (this.#unanswered > 0) this.#limitAnswers()
    if (this.#isEnding || this.#unanswered > 0) return
    const isDone = this.#stopped !== null || this.#next === this.#calls.length
    if (this.#running > 0 ? this.#refusals.length === 0 : !isDone) return
    this.#isEnding = true
    // A turn later: what was answered last may have led to more. Nobody else comes between that turn and the commit.
    setImmediate(() => this.#ending())
  }

  /** Statements that nobody waits for have a limit, too, once all handlers have returned. */
  #limitAnswers(): void {
    if (this.#running > 0 || this.#answersAreLimited) return
    this.#answersAreLimited = true
    const call = this.#calls[Math.max(0, this.#highest)]!
    this.#limits.start(-1, call, this.#settings.timeoutMs(call.handler))
  }

  #ending(): void {
    this.#isEnding = false
    if (this.#unanswered > 0 || this.#isOver) return
    const refusals = this.#refusals
    this.#refusals = []
    for (const refuse of refusals) refuse()
    if (this.#running > 0 || (this.#stopped === null && this.#next < this.#calls.length)) return
    this.#isOver = true
    this.#end()
  }

  async #published(): Promise<OutboxMessage[]> {
    const messages: OutboxMessage[] = []
    for (const [place, { published }] of this.#transactions) {
      if (published !== null && !this.#without.has(place)) messages.push(...(await allMade(published)))
    }
    return messages
  }
}

const isAlone = ({ manner }: Call): boolean => manner !== 'beside others'
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

class CallContext extends MessageChance implements HandlerContext {
  readonly tx: OwnTransaction
  readonly mode = 'live'
  readonly attempt: number
  readonly signal: AbortSignal

  constructor(tx: OwnTransaction, call: Call, settings: ExecutionSettings) {
    super(call.identity, call.timestamp)
    this.tx = tx
    this.attempt = call.before + settings.attempt(call)
    this.signal = settings.run.signal
  }
}

function abandoned(): TidemarkError {
  return new TidemarkError('TRANSACTION_ABORTED', 'This run of the batch is abandoned; its messages will be run again, one at a time.')
}

/** What a handler is told that takes too long, and what its message is charged with. */
function overdue(ms: number): TidemarkError {
  return new TidemarkError('HANDLER_TIMEOUT', `The handler did not end within ${ms} ms.`, {
    remedy: 'Give it less to do, or more time by timeoutMs; pass its signal on to what it waits for.',
  })
}
