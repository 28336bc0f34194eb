import { deferred } from '../../internal/deferred.ts'
import { type Failure, failureOf } from '../../retry/failure.ts'
import { channels } from '../../telemetry/channels.ts'
import type { BatchSettings } from '../batch/batch-settings.ts'
import { type Manner, callsOf } from '../batch/call.ts'
import { Execution, type ExecutionOutcome } from '../batch/execution.ts'
import type { Task } from '../batch/plan.ts'
import type { LeasedKey, RetryTransaction } from '../parked-port.ts'

/** A leased key, and what of it is to be done. */
export interface KeyTasks {
  readonly key: LeasedKey
  /** From its head on; never empty. */
  readonly steps: readonly Task[]
}

/** Why nobody is charged; the words are those of `BatchResult`. */
export type Uncharged =
  /** The lease, the head or what was handled before is not what was assumed. */
  | { readonly reason: 'reload' }
  /** The consumer stops. */
  | { readonly reason: 'dropped' }
  | { readonly reason: 'held' | 'unavailable'; readonly failure: Pick<Failure, 'errorClass'> }
  | { readonly reason: 'conflict' | 'lost'; readonly failure: Failure; readonly error: unknown }

export type AttemptOutcome =
  /**
   * What is done is committed. `done`: how many messages of each key, from its head on; `failed`: heads that failed and left nothing behind, with their errors. Of a key in
   * neither nothing is known.
   */
  | { readonly outcome: 'ended'; readonly done: ReadonlyMap<LeasedKey, number>; readonly failed: ReadonlyMap<LeasedKey, unknown> }
  /** Nothing is done: it cannot be told which of several messages is at fault. */
  | { readonly outcome: 'unclear' }
  | { readonly outcome: 'uncharged'; readonly why: Uncharged }

/** `optimistic`: heads that have never failed run beside each other, as a lane runs them. `careful`: each message by itself, and so that it can be undone. */
export type AttemptManner = 'optimistic' | 'careful'

/** One transaction of a retrier: messages of some keys of a group, with their removal from the queues, so that effects and removal come together. */
export class RetryAttempt {
  readonly #keys: readonly KeyTasks[]
  readonly #manner: AttemptManner
  readonly #settings: BatchSettings
  readonly #keyOf = new Map<Task, KeyTasks>()
  #isTried = false

  constructor(keys: readonly KeyTasks[], manner: AttemptManner, settings: BatchSettings) {
    this.#keys = keys
    this.#manner = manner
    this.#settings = settings
    for (const one of keys) for (const task of one.steps) this.#keyOf.set(task, one)
  }

  /** Its handlers were run to an end, and this process lives. */
  get isTried(): boolean {
    return this.#isTried
  }

  /** Rejects when the database is away. `signal` aborts when what runs is to be given up. */
  async run(signal: AbortSignal): Promise<AttemptOutcome> {
    const transaction = await this.#settings.store.parked.begin(this.#keys.map(({ key }) => key))
    const run = new AbortController()
    const gone = deferred<'gone'>()
    const abort = (): void => {
      run.abort()
      gone.resolve('gone')
    }
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) abort()
    let isCommitted = false
    try {
      const outcome = await this.#within(transaction, run, gone.promise)
      isCommitted = outcome.outcome === 'ended' && outcome.done.size > 0
      return outcome
    } catch (error) {
      if (transaction.blame(error) !== 'conflict') throw error
      return uncharged('conflict', error)
    } finally {
      signal.removeEventListener('abort', abort)
      if (!isCommitted) await transaction.rollBack()
    }
  }

  async #within(transaction: RetryTransaction, run: AbortController, gone: Promise<'gone'>): Promise<AttemptOutcome> {
    const tasks = await this.#newTasks(transaction)
    const failed = new Map<Task, unknown>()
    const execution = new Execution(callsOf(tasks, this.#mannerOf()), transaction, {
      group: this.#keys[0]!.key.partition.group,
      attempt: ({ tasks }) => this.#keyOf.get(tasks[0]!)!.key.attempts + 1,
      run,
      clock: this.#settings.clock,
      timeoutMs: (handler) => handler.timeoutMs ?? this.#settings.timeoutMs,
      failed: (task, _, error) => {
        failed.set(task, error)
        return 'queue'
      },
      succeeded: (handler) => this.#settings.breaker?.succeeded(handler.name),
    })
    const done = await Promise.race([execution.run(), gone])
    if (done === 'gone') execution.abandon()
    if (done === 'gone' || execution.isLate) await transaction.rollBack('at once')
    if (done === 'gone') return { outcome: 'uncharged', why: { reason: 'dropped' } }
    this.#isTried = true
    if (done.outcome !== 'done') return this.#undone(done, transaction, tasks)
    return this.#commit(transaction, tasks, failed, done)
  }

  #mannerOf(): (task: Task) => Manner {
    const isAlone = this.#keys.length === 1
    const mannerOf = this.#settings.optimism.manners()
    return (task) => {
      // Of one key none runs beside another anyway; and what has failed before is likely to fail again.
      if (this.#manner === 'careful' || isAlone || this.#keyOf.get(task)!.key.attempts > 0) return 'undoable'
      return mannerOf(task.handler)
    }
  }

  /** Without those that the group has handled before, and repeats among them. */
  async #newTasks(transaction: RetryTransaction): Promise<readonly Task[]> {
    const tasks = this.#keys.flatMap(({ steps }) => steps)
    const ids = new Set(tasks.flatMap(({ inboxId }) => (inboxId === null ? [] : [inboxId])))
    if (ids.size === 0) return tasks
    const known = new Set(await transaction.alreadyHandled([...ids]))
    return tasks.filter(({ inboxId }) => {
      if (inboxId === null) return true
      const isNew = !known.has(inboxId)
      known.add(inboxId)
      return isNew
    })
  }

  #undone(done: Exclude<ExecutionOutcome, { outcome: 'done' }>, transaction: RetryTransaction, tasks: readonly Task[]): AttemptOutcome {
    const { optimism, tally } = this.#settings
    if (done.outcome === 'abandoned') {
      tally.abandonedRuns += 1
      if (done.by !== null) optimism.disappointed(done.by)
      for (const { handler } of done.culprits) optimism.spoiled(handler)
    }
    const error = done.outcome === 'abandoned' ? null : done.error
    const blame = transaction.blame(error)
    const isClear = done.outcome === 'failed' ? blame === 'handler' : done.outcome === 'overdue' && done.alone
    if (isClear && done.outcome !== 'abandoned') return this.#failedHead(done.call.tasks, error)
    if (tasks.length > 1) return { outcome: 'unclear' }
    return uncharged(blame === 'conflict' ? 'conflict' : 'lost', error)
  }

  /** Only heads are charged. */
  #failedHead([task, ...others]: readonly Task[], error: unknown): AttemptOutcome {
    const { key, steps } = this.#keyOf.get(task!)!
    if (others.length > 0 || steps[0] !== task) return { outcome: 'unclear' }
    return { outcome: 'ended', done: new Map(), failed: new Map([[key, error]]) }
  }

  async #commit(
    transaction: RetryTransaction,
    tasks: readonly Task[],
    failed: ReadonlyMap<Task, unknown>,
    { held, publish }: Extract<ExecutionOutcome, { outcome: 'done' }>,
  ): Promise<AttemptOutcome> {
    const done = new Map<LeasedKey, number>()
    const heads = new Map<LeasedKey, unknown>()
    const handled = new Set(tasks)
    for (const { key, steps } of this.#keys) {
      // All of a key stop at the first failure: what precedes it is done.
      const end = steps.findIndex((step) => failed.has(step) || held.includes(step))
      if (end !== 0) done.set(key, end === -1 ? steps.length : end)
      else if (failed.has(steps[0]!)) heads.set(key, failed.get(steps[0]!))
      if (end !== -1) for (const step of steps.slice(end)) handled.delete(step)
    }
    if (done.size === 0) return { outcome: 'ended', done, failed: heads }
    const result = await transaction.commit({
      done: this.#keys.map(({ key }) => done.get(key) ?? 0),
      handled: [...handled].flatMap(({ inboxId }) => (inboxId === null ? [] : [inboxId])),
      publish,
    })
    if (result.outcome === 'committed') {
      this.#count(done, handled, publish.length > 0)
      return { outcome: 'ended', done, failed: heads }
    }
    if (this.#keyOf.size > 1) return { outcome: 'unclear' }
    if (result.outcome === 'refused' && tasks.length > 0) return this.#failedHead(tasks, result.error)
    return { outcome: 'uncharged', why: { reason: 'reload' } }
  }

  #count(done: ReadonlyMap<LeasedKey, number>, handled: ReadonlySet<Task>, hasPublished: boolean): void {
    const { tally, onPublished } = this.#settings
    const ended = [...done.values()].reduce((sum, steps) => sum + steps, 0)
    tally.handled += handled.size
    tally.retried += handled.size
    tally.duplicatesInbox += ended - handled.size
    if (hasPublished) onPublished()
    if (!channels.consumerRetried.hasSubscribers) return
    for (const { key, steps } of this.#keys) {
      if (!done.has(key)) continue
      const { group, topic, partition } = key.partition
      channels.consumerRetried.publish({ group, topic, partition, handled: steps.filter((step) => handled.has(step)).length })
    }
  }
}

function uncharged(reason: 'conflict' | 'lost', error: unknown): AttemptOutcome {
  return { outcome: 'uncharged', why: { reason, failure: failureOf(error), error } }
}
