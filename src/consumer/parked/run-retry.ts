import { deferred } from '../../internal/deferred.ts'
import { backoffMs } from '../../internal/backoff.ts'
import { type Failure, failureOf, signatureOf } from '../../retry/failure.ts'
import { nextStep, retryPolicy } from '../../retry/retry-policy.ts'
import { channels } from '../../telemetry/channels.ts'
import type { BatchSettings } from '../batch/batch-settings.ts'
import { callsOf } from '../batch/call.ts'
import { crashed, mostCrashes } from '../batch/crashed.ts'
import { deadLetterOf } from '../batch/dead-letter-of.ts'
import { withAttempt } from '../batch/attempts.ts'
import { Entry } from '../batch/entry.ts'
import { Execution, type ExecutionOutcome } from '../batch/execution.ts'
import type { Handler } from '../handler.ts'
import type { FailedAttempt } from '../port.ts'
import type { HeadFailure, LeasedKey, RetryTransaction } from '../parked-port.ts'
import { toDeadLetterTopic } from '../batch/pass-on.ts'
import { type RetryPlan, planRetry } from './retry-plan.ts'
import type { Task } from '../batch/plan.ts'

/** How a run of a leased key went. The key is given back in any case. */
export type RetryResult =
  | { readonly outcome: 'done'; readonly done: number }
  | { readonly outcome: 'failed' }
  /** Nobody was charged. */
  | { readonly outcome: 'given back' }

/** Its messages are run again after so long, when nobody is at fault. */
const pauseMs = { firstMs: 200, maxMs: 5_000 }

/**
 * Tries a key's head again, and what waits behind it: in one transaction, with their removal from the queue, so that effects and removal come together.
 * Never rejects. `signal` aborts when the consumer stops.
 */
export async function runRetry(key: LeasedKey, settings: BatchSettings, signal: AbortSignal): Promise<RetryResult> {
  const run = new RetryRun(key, settings, signal)
  try {
    return await run.run()
  } catch {
    // The database is away, or what a codec needs. The lease ends by itself if it cannot be given back.
    return run.giveBack()
  }
}

type Attempt =
  | { readonly outcome: 'committed'; readonly done: number }
  /** The head failed. */
  | { readonly outcome: 'failed'; readonly error: unknown; readonly task: Task }
  /** Something failed among several. */
  | { readonly outcome: 'alone' }
  | { readonly outcome: 'moved' }

class RetryRun {
  readonly #key: LeasedKey
  readonly #settings: BatchSettings
  readonly #signal: AbortSignal

  constructor(key: LeasedKey, settings: BatchSettings, signal: AbortSignal) {
    this.#key = key
    this.#settings = settings
    this.#signal = signal
  }

  async run(): Promise<RetryResult> {
    const plan = await planRetry(this.#key, this.#settings)
    if (plan.hopeless !== null) {
      const { entry, handler, error } = plan.hopeless
      return this.#failed(entry, handler, handler === null ? { ...failureOf(error), is: 'poison' } : failureOf(error))
    }
    if (this.#key.crashes >= mostCrashes) {
      const task = plan.steps[0] ?? null
      return this.#failed(
        task?.entry ?? new Entry(this.#key.messages[0]!.record),
        task?.handler ?? null,
        failureOf(crashed(this.#key.crashes)),
      )
    }
    let attempt = await this.#attempt(plan.steps)
    if (attempt.outcome === 'alone') attempt = await this.#attempt(plan.steps.slice(0, 1))
    switch (attempt.outcome) {
      case 'committed':
        return { outcome: 'done', done: attempt.done }
      case 'failed':
        return this.#failed(attempt.task.entry, attempt.task.handler, failureOf(attempt.error))
      case 'alone':
      case 'moved':
        return this.giveBack()
    }
  }

  async giveBack(): Promise<RetryResult> {
    const { store, clock } = this.#settings
    await store.parked.giveBack([this.#key], backoffMs(pauseMs, this.#key.crashes + 1, clock.random())).catch(() => undefined)
    return { outcome: 'given back' }
  }

  async #attempt(steps: RetryPlan['steps']): Promise<Attempt> {
    const transaction = await this.#settings.store.parked.begin(this.#key)
    const run = new AbortController()
    const gone = deferred<'gone'>()
    const abort = (): void => {
      run.abort()
      gone.resolve('gone')
    }
    this.#signal.addEventListener('abort', abort, { once: true })
    let result: Attempt | null = null
    try {
      result = await this.#within(transaction, steps, run, gone.promise)
      return result
    } finally {
      this.#signal.removeEventListener('abort', abort)
      if (result?.outcome !== 'committed') await transaction.rollBack()
    }
  }

  async #within(transaction: RetryTransaction, steps: RetryPlan['steps'], run: AbortController, gone: Promise<'gone'>): Promise<Attempt> {
    const tasks = await this.#newTasks(transaction, steps)
    let failure: { readonly task: Task; readonly error: unknown } | null = null
    const execution = new Execution(
      // All of one key, so none runs beside another anyway.
      callsOf(tasks, () => true),
      transaction,
      {
        attempt: this.#key.attempts + 1,
        run,
        clock: this.#settings.clock,
        marks: true,
        timeoutMs: (handler) => handler.timeoutMs ?? this.#settings.timeoutMs,
        failed: (task, _, error) => {
          failure ??= { task, error }
          return 'queue'
        },
        succeeded: (handler) => this.#settings.breaker?.succeeded(handler.name),
      },
    )
    const done = await Promise.race([execution.run(), gone])
    if (done === 'gone') execution.abandon()
    if (done === 'gone' || execution.isLate) await transaction.rollBack('at once')
    if (done === 'gone') return { outcome: 'moved' }
    if (done.outcome !== 'done') return this.#undone(done, transaction, tasks)
    const failed = failure as { readonly task: Task; readonly error: unknown } | null
    // Keyless messages and others of the key stop at the first failure: what precedes it is done.
    const until = failed === null ? steps.length : steps.findIndex((step) => step === failed.task)
    if (until === 0) return { outcome: 'failed', ...failed! }
    return this.#commit(transaction, steps.slice(0, until), tasks, done.publish)
  }

  #undone(done: Exclude<ExecutionOutcome, { outcome: 'done' }>, transaction: RetryTransaction, tasks: readonly Task[]): Attempt {
    if (tasks.length > 1) return { outcome: 'alone' }
    const task = tasks[0]!
    if (done.outcome === 'overdue') return { outcome: 'failed', task, error: done.error }
    if (done.outcome !== 'failed' || transaction.blame(done.error) !== 'handler') return { outcome: 'moved' }
    return { outcome: 'failed', task, error: done.error }
  }

  /** Without those that the group has handled before, and repeats among them. */
  async #newTasks(transaction: RetryTransaction, steps: RetryPlan['steps']): Promise<readonly Task[]> {
    const tasks = steps.filter((step) => step !== null)
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

  async #commit(
    transaction: RetryTransaction,
    steps: RetryPlan['steps'],
    tasks: readonly Task[],
    publish: Parameters<RetryTransaction['commit']>[0]['publish'],
  ): Promise<Attempt> {
    const handled = tasks.filter((task) => steps.includes(task))
    const result = await transaction.commit({
      done: steps.length,
      handled: handled.flatMap(({ inboxId }) => (inboxId === null ? [] : [inboxId])),
      publish,
    })
    if (result.outcome === 'refused' && steps.length > 1) return { outcome: 'alone' }
    if (result.outcome === 'refused' && tasks[0] !== undefined) return { outcome: 'failed', task: tasks[0], error: result.error }
    if (result.outcome !== 'committed') return { outcome: 'moved' }
    const { tally, onPublished } = this.#settings
    tally.handled += handled.length
    tally.retried += handled.length
    tally.duplicatesInbox += steps.length - handled.length
    if (publish.length > 0) onPublished()
    if (channels.consumerRetried.hasSubscribers) {
      const { group, topic, partition } = this.#key.partition
      channels.consumerRetried.publish({ group, topic, partition, handled: handled.length })
    }
    return { outcome: 'committed', done: steps.length }
  }

  async #failed(entry: Entry, handler: Handler | null, failure: Failure): Promise<RetryResult> {
    const { clock, breaker, store, tally, onPublished } = this.#settings
    const { group, topic, partition } = this.#key.partition
    const now = clock.now()
    const charged = withAttempt(this.#key.failures, { at: now, error: failure.reason })
    if (failure.laterMs === null && handler !== null && failure.is !== 'poison' && breaker !== null) {
      const of = {
        handler: handler.name,
        is: failure.is,
        errorClass: failure.errorClass,
        signature: signatureOf(failure),
        key: this.#key.key.toString('base64'),
        // A message that is known to fail says nothing of the state of things, but that something is away which was not before.
        first: failure.is === 'transient' && this.#key.failures.at(-1)?.error !== failure.reason,
      }
      if (breaker.failed(of, clock.elapsed(), clock.random()) === 'hold' && breaker.explains(of)) return this.giveBack()
    }
    const head = this.#next(entry, handler, failure, charged)
    if (!(await store.parked.failed(this.#key, head))) return { outcome: 'given back' }
    const { offset } = entry.record
    if (failure.laterMs === null) {
      tally.retries += 1
      channels.consumerRetry.publish({ group, topic, partition, offset, attempt: this.#key.attempts + 1, errorClass: failure.errorClass })
    }
    if (head.do === 'bury') {
      if (head.publish.length > 0) onPublished()
      tally.deadLetters += 1
      const { policy, errorClass } = head.letter
      channels.consumerDeadLetter.publish({ group, topic, partition, offset, policy, errorClass })
    }
    return { outcome: 'failed' }
  }

  #next(entry: Entry, handler: Handler | null, failure: Failure, charged: readonly FailedAttempt[]): HeadFailure {
    const { clock } = this.#settings
    if (failure.laterMs !== null)
      return { do: 'park', charged: this.#key.attempts, attempts: this.#key.failures, reason: failure.reason, afterMs: failure.laterMs }
    const policy = retryPolicy(this.#settings.retry, handler?.retry)
    const step = nextStep(policy, {
      is: failure.is,
      attempts: this.#key.attempts + 1,
      firstFailedAt: charged[0]!.at,
      now: clock.now(),
      random: clock.random(),
    })
    if (step.do === 'park')
      return { do: 'park', charged: this.#key.attempts + 1, attempts: charged, reason: failure.reason, afterMs: step.afterMs }
    const letter = deadLetterOf(entry, handler, failure, charged, { ...this.#settings, group: this.#key.partition.group })
    const counted = { ...letter, retryCount: this.#key.attempts + 1 }
    return {
      do: 'bury',
      letter: counted,
      publish: toDeadLetterTopic(entry, counted, { ...this.#settings, group: this.#key.partition.group }),
    }
  }
}
