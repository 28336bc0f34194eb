import { type Failure, failureOf } from '../../retry/failure.ts'
import { channels } from '../../telemetry/channels.ts'
import type { BatchSettings } from '../batch/batch-settings.ts'
import { type Manner, callsOf } from '../batch/call.ts'
import { Execution, type ExecutionOutcome } from '../batch/execution.ts'
import type { Task } from '../batch/plan.ts'
import { type Stoppable, untilStopped } from '../batch/stoppable.ts'
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
  /** What is done is committed. `done`: how many messages of each key, from its head on; none of a key whose head has failed, and left nothing behind. */
  | { readonly outcome: 'ended'; readonly done: ReadonlyMap<LeasedKey, number>; readonly failed: { readonly error: unknown } | null }
  /** Nothing is done, and nobody is charged: whoever it was that failed, it may have been because of another one. `by`: these did. */
  | { readonly outcome: 'unclear'; readonly by: ReadonlySet<LeasedKey> }
  | { readonly outcome: 'uncharged'; readonly why: Uncharged }

/**
 * One transaction of a retrier: messages of some keys of a group, with their removal from the queues, so that effects and removal come together. Several keys go all or
 * none: what one handler does to the transaction may be why another one fails. Of one key goes what precedes the first message that fails.
 */
export class RetryAttempt {
  readonly #keys: readonly KeyTasks[]
  readonly #settings: BatchSettings
  readonly #keyOf = new Map<Task, KeyTasks>()
  /** Handlers that have succeeded, by name. */
  readonly #succeeded = new Set<string>()
  #isTried = false

  constructor(keys: readonly KeyTasks[], settings: BatchSettings) {
    this.#keys = keys
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
    let isCommitted = false
    try {
      const outcome = await untilStopped(signal, (stoppable) => this.#within(transaction, stoppable))
      isCommitted = outcome.outcome === 'ended' && outcome.done.size > 0
      return outcome
    } catch (error) {
      if (transaction.blame(error) !== 'conflict') throw error
      return uncharged('conflict', error)
    } finally {
      if (!isCommitted) await transaction.rollBack()
    }
  }

  async #within(transaction: RetryTransaction, { run, gone }: Stoppable): Promise<AttemptOutcome> {
    const tasks = await this.#newTasks(transaction)
    const failed = new Map<Task, unknown>()
    const execution = new Execution(callsOf(tasks, this.#mannerOf()), transaction, {
      group: this.#keys[0]!.key.partition.group,
      allowsRaw: !this.#isShared,
      attempt: ({ tasks }) => this.#keyOf.get(tasks[0]!)!.key.attempts + 1,
      run,
      clock: this.#settings.clock,
      timeoutMs: (handler) => handler.timeoutMs ?? this.#settings.timeoutMs,
      failed: (task, _, error) => {
        failed.set(task, error)
        return 'queue'
      },
      succeeded: (handler) => void this.#succeeded.add(handler.name),
    })
    const done = await Promise.race([execution.run(), gone])
    if (done === 'gone') execution.abandon()
    if (done === 'gone' || execution.isLate) await transaction.rollBack('at once')
    if (done === 'gone') return { outcome: 'uncharged', why: { reason: 'dropped' } }
    this.#isTried = true
    if (done.outcome !== 'done') return this.#undone(done, transaction, tasks)
    return this.#commit(transaction, tasks, failed, done)
  }

  get #isShared(): boolean {
    return this.#keys.length > 1
  }

  #mannerOf(): (task: Task) => Manner {
    // Of one key none runs beside another anyway.
    if (!this.#isShared) return () => 'undoable'
    const mannerOf = this.#settings.optimism.manners()
    return ({ handler }) => mannerOf(handler)
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
      return this.#unclear(done.culprits)
    }
    const blame = transaction.blame(done.error)
    const isTheirs = done.outcome === 'failed' ? blame === 'handler' : done.alone
    if (isTheirs || tasks.length > 1) return this.#failedWith(done.call.tasks, done.error)
    return uncharged(blame === 'conflict' ? 'conflict' : 'lost', done.error)
  }

  /** Only heads are charged, and only of a key by itself. */
  #failedWith(tasks: readonly Task[], error: unknown): AttemptOutcome {
    const [task] = tasks
    if (this.#isShared || tasks.length > 1 || this.#keys[0]!.steps[0] !== task) return this.#unclear(tasks)
    return { outcome: 'ended', done: new Map(), failed: { error } }
  }

  #unclear(tasks: readonly Task[]): AttemptOutcome {
    return { outcome: 'unclear', by: new Set(tasks.map((task) => this.#keyOf.get(task)!.key)) }
  }

  async #commit(
    transaction: RetryTransaction,
    tasks: readonly Task[],
    failed: ReadonlyMap<Task, unknown>,
    { publish }: Extract<ExecutionOutcome, { outcome: 'done' }>,
  ): Promise<AttemptOutcome> {
    if (this.#isShared && failed.size > 0) return this.#unclear([...failed.keys()])
    const { key, steps } = this.#keys[0]!
    // A key stops at its first failure: what precedes it is done.
    const end = steps.findIndex((step) => failed.has(step))
    if (end === 0) return { outcome: 'ended', done: new Map(), failed: { error: failed.get(steps[0]!) } }
    const done = new Map(this.#keys.map((one) => [one.key, one.steps.length]))
    if (end !== -1) done.set(key, end)
    const handled = end === -1 ? tasks : tasks.filter((task) => steps.indexOf(task) < end)
    const result = await transaction.commit({
      done: [...done.values()],
      handled: handled.flatMap(({ inboxId }) => (inboxId === null ? [] : [inboxId])),
      publish,
    })
    if (result.outcome === 'committed') {
      this.#count(done, new Set(handled), publish.length > 0)
      return { outcome: 'ended', done, failed: null }
    }
    if (this.#keyOf.size > 1) return this.#unclear([])
    if (result.outcome === 'refused' && tasks.length > 0) return this.#failedWith(tasks, result.error)
    return { outcome: 'uncharged', why: { reason: 'reload' } }
  }

  #count(done: ReadonlyMap<LeasedKey, number>, handled: ReadonlySet<Task>, hasPublished: boolean): void {
    const { breaker, tally, onPublished } = this.#settings
    for (const handler of this.#succeeded) breaker?.succeeded(handler)
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
