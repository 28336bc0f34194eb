import { pause } from '../../internal/clock.ts'
import { deferred } from '../../internal/deferred.ts'
import { backoffMs } from '../../internal/backoff.ts'
import { type Failure, failureOf, signatureOf } from '../../retry/failure.ts'
import { nextStep, retryDelayMs, retryPolicy } from '../../retry/retry-policy.ts'
import { channels } from '../../telemetry/channels.ts'
import type { BatchSettings } from '../batch/batch-settings.ts'
import { callsOf } from '../batch/call.ts'
import { mostConflicts, mostLosses } from '../partition/lane.ts'
import { crashed, mostCrashes } from '../batch/crashed.ts'
import { isGivenUp } from './suspicion.ts'
import { deadLetterOf } from '../batch/dead-letter-of.ts'
import { withAttempt } from '../batch/attempts.ts'
import type { Entry } from '../batch/entry.ts'
import { Execution, type ExecutionOutcome } from '../batch/execution.ts'
import type { Handler } from '../handler.ts'
import type { FailedAttempt, PartitionRef } from '../port.ts'
import type { HeadFailure, LeasedKey, RetryTransaction } from '../parked-port.ts'
import { toDeadLetterTopic } from '../batch/pass-on.ts'
import { type RetryPlan, planRetry } from './retry-plan.ts'
import { mostUnhandledMs, unhandledPauseMs } from '../batch/unhandled.ts'
import type { Task } from '../batch/plan.ts'

/** How a run of a leased key went. The key is given back in any case. */
export type RetryResult =
  | { readonly outcome: 'done'; readonly done: number }
  | { readonly outcome: 'failed' }
  /** Nobody was charged. */
  | { readonly outcome: 'given back' }

/** Its messages are run again after so long, when nobody is at fault. */
const pauseMs = { firstMs: 200, maxMs: 5_000 }

/** Between two tries to give a key back. */
const giveBackMs = { firstMs: 50, maxMs: 2_000 }

/** What a run of a key has to do with the consumer it is of. */
export interface RetrySurroundings {
  /** Aborts when the consumer has to stop now: what runs is given up. */
  readonly signal: AbortSignal
  /** Aborts when the consumer begins to stop: nobody waits for a database that is away. */
  readonly leaving: AbortSignal
  /** Something failed that is no message's fault. */
  trouble(error: unknown): void
}

/**
 * Tries a key's head again, and what waits behind it: in one transaction, with their removal from the queue, so that effects and removal come together.
 * Never rejects.
 */
export async function runRetry(key: LeasedKey, settings: BatchSettings, surroundings: RetrySurroundings): Promise<RetryResult> {
  const run = new RetryRun(key, settings, surroundings)
  try {
    return await run.run()
  } catch (error) {
    // The database is away, or what a codec needs.
    return run.giveBack({ reason: 'unavailable', failure: failureOf(error) })
  }
}

/** Why nobody is charged; the words are those of `BatchResult`. */
type Uncharged =
  /** The lease, the head or what was handled before is not what was assumed. */
  | { readonly reason: 'reload' }
  /** The consumer stops. */
  | { readonly reason: 'dropped' }
  | { readonly reason: 'held' | 'unavailable'; readonly failure: Failure }
  | { readonly reason: 'conflict' | 'lost'; readonly failure: Failure; readonly error: unknown }

type Attempt =
  | { readonly outcome: 'committed'; readonly done: number }
  /** The head failed. */
  | { readonly outcome: 'failed'; readonly error: unknown; readonly task: Task }
  /** Something failed among several. */
  | { readonly outcome: 'alone' }
  | { readonly outcome: 'uncharged'; readonly why: Uncharged }

function uncharged(reason: 'conflict' | 'lost', error: unknown): Attempt {
  return { outcome: 'uncharged', why: { reason, failure: failureOf(error), error } }
}

class RetryRun {
  readonly #key: LeasedKey
  readonly #settings: BatchSettings
  readonly #surroundings: RetrySurroundings
  /** Whoever has run the head to an end, and lives, has shown that it ends no process. */
  #how: 'tried' | 'untried' = 'untried'

  constructor(key: LeasedKey, settings: BatchSettings, surroundings: RetrySurroundings) {
    this.#key = key
    this.#settings = settings
    this.#surroundings = surroundings
  }

  async run(): Promise<RetryResult> {
    const plan = await planRetry(this.#key, this.#settings)
    if (plan.unhandled !== null) return this.#unhandled(plan.unhandled.entry, plan.unhandled.error)
    if (plan.hopeless !== null) {
      const { entry, handler, error } = plan.hopeless
      return this.#failed(entry, handler, handler === null ? { ...failureOf(error), is: 'poison' } : failureOf(error))
    }
    if (isGivenUp(this.#key)) {
      const { entry, handler } = plan.steps[0]!
      return this.#failed(entry, handler, failureOf(crashed(mostCrashes)))
    }
    let attempt = await this.#attempt(plan.steps)
    if (attempt.outcome !== 'committed') attempt = await this.#untilItIsClear(plan.steps.slice(0, 1), attempt)
    switch (attempt.outcome) {
      case 'committed':
        return { outcome: 'done', done: attempt.done }
      case 'failed':
        return this.#failed(attempt.task.entry, attempt.task.handler, failureOf(attempt.error))
      case 'alone':
        return this.giveBack({ reason: 'reload' })
      case 'uncharged':
        return this.giveBack(attempt.why)
    }
  }

  /** Tells why, and gives the key back: until the database says so, since a lease that runs out counts as a crash. */
  async giveBack(why: Uncharged): Promise<RetryResult> {
    this.#tell(why)
    const { store, clock } = this.#settings
    const { leaving, trouble } = this.#surroundings
    for (let tries = 1; ; tries++) {
      try {
        await store.parked.giveBack([this.#key], this.#how, backoffMs(pauseMs, this.#key.crashes + 1, clock.random()))
        return { outcome: 'given back' }
      } catch (error) {
        trouble(error)
        if (leaving.aborted) return { outcome: 'given back' }
        await pause(clock, backoffMs(giveBackMs, tries, clock.random()), leaving)
      }
    }
  }

  #tell(why: Uncharged): void {
    const { group, topic, partition } = this.#key.partition
    const { reason } = why
    const errorClass = 'failure' in why ? why.failure.errorClass : undefined
    this.#settings.tally.uncharged += 1
    if (reason === 'unavailable' || reason === 'lost' || reason === 'conflict')
      this.#surroundings.trouble(notTried(this.#key.partition, why.failure))
    channels.consumerRollback.publish({ group, topic, partition, lane: null, reason, errorClass })
  }

  /**
   * Tries the head alone, where it was not. Conflicts and lost connections are nobody's fault, unless they come again and again while the database answers otherwise: then
   * they are the head's, as in a lane.
   */
  async #untilItIsClear(head: RetryPlan['steps'], first: Attempt): Promise<Attempt> {
    const { clock } = this.#settings
    let attempt = first.outcome === 'alone' ? await this.#attempt(head) : first
    for (let tries = 1; attempt.outcome === 'uncharged'; tries++) {
      const { why } = attempt
      if (why.reason !== 'conflict' && why.reason !== 'lost') break
      const most = why.reason === 'conflict' ? mostConflicts : mostLosses
      if (tries > most) return { outcome: 'failed', task: head[0]!, error: why.error }
      await pause(clock, retryDelayMs({ baseDelayMs: 5, maxDelayMs: 500 }, tries, clock.random()), this.#surroundings.leaving)
      if (this.#surroundings.leaving.aborted) break
      attempt = await this.#attempt(head)
    }
    return attempt
  }

  async #attempt(steps: RetryPlan['steps']): Promise<Attempt> {
    const transaction = await this.#settings.store.parked.begin(this.#key)
    const run = new AbortController()
    const gone = deferred<'gone'>()
    const abort = (): void => {
      run.abort()
      gone.resolve('gone')
    }
    const { signal } = this.#surroundings
    signal.addEventListener('abort', abort, { once: true })
    let result: Attempt | null = null
    try {
      result = await this.#within(transaction, steps, run, gone.promise)
      return result
    } catch (error) {
      if (transaction.blame(error) !== 'conflict') throw error
      return uncharged('conflict', error)
    } finally {
      signal.removeEventListener('abort', abort)
      if (result?.outcome !== 'committed') await transaction.rollBack()
    }
  }

  async #within(transaction: RetryTransaction, steps: RetryPlan['steps'], run: AbortController, gone: Promise<'gone'>): Promise<Attempt> {
    const tasks = await this.#newTasks(transaction, steps)
    let failure: { readonly task: Task; readonly error: unknown } | null = null
    const execution = new Execution(
      // All of one key, so none runs beside another anyway.
      callsOf(tasks, () => 'undoable'),
      transaction,
      {
        group: this.#key.partition.group,
        attempt: this.#key.attempts + 1,
        run,
        clock: this.#settings.clock,
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
    if (done === 'gone') return { outcome: 'uncharged', why: { reason: 'dropped' } }
    this.#how = 'tried'
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
    const error = done.outcome === 'failed' ? done.error : null
    const blame = transaction.blame(error)
    if (done.outcome === 'failed' && blame === 'handler') return { outcome: 'failed', task, error }
    return uncharged(blame === 'conflict' ? 'conflict' : 'lost', error)
  }

  /** Without those that the group has handled before, and repeats among them. */
  async #newTasks(transaction: RetryTransaction, steps: RetryPlan['steps']): Promise<readonly Task[]> {
    const ids = new Set(steps.flatMap(({ inboxId }) => (inboxId === null ? [] : [inboxId])))
    if (ids.size === 0) return steps
    const known = new Set(await transaction.alreadyHandled([...ids]))
    return steps.filter(({ inboxId }) => {
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
    if (result.outcome !== 'committed') return { outcome: 'uncharged', why: { reason: 'reload' } }
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
    const { clock, breaker, tally } = this.#settings
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
      if (breaker.failed(of, clock.elapsed(), clock.random(), 'retriers') === 'hold' && breaker.explains(of))
        return this.giveBack({ reason: 'held', failure })
    }
    const noted = await this.#note(entry, this.#next(entry, handler, failure, charged))
    if (noted && failure.laterMs === null) {
      const { group, topic, partition } = this.#key.partition
      tally.retries += 1
      const { offset } = entry.record
      channels.consumerRetry.publish({ group, topic, partition, offset, attempt: this.#key.attempts + 1, errorClass: failure.errorClass })
    }
    return { outcome: noted ? 'failed' : 'given back' }
  }

  /**
   * It waits, charged to nobody, for a process that has the handler: in a deployment that is under way there is one. When none has come for long, it is a dead letter,
   * which somebody is told of.
   */
  async #unhandled(entry: Entry, error: unknown): Promise<RetryResult> {
    const { clock } = this.#settings
    const failure = failureOf(error)
    this.#surroundings.trouble(error)
    const now = clock.now()
    const { attempts: charged, failures } = this.#key
    const attempts = failures.at(-1)?.error === failure.reason ? failures : withAttempt(failures, { at: now, error: failure.reason })
    const waitedMs = now - attempts.at(-1)!.at
    const head: HeadFailure =
      waitedMs < mostUnhandledMs
        ? { do: 'park', charged, attempts, reason: failure.reason, afterMs: unhandledPauseMs(waitedMs, clock.random()) }
        : this.#buried(entry, null, failure, attempts, charged)
    return { outcome: (await this.#note(entry, head)) ? 'failed' : 'given back' }
  }

  /** `false`: the lease, or the head, is another one now. */
  async #note(entry: Entry, head: HeadFailure): Promise<boolean> {
    const { store, tally, onPublished } = this.#settings
    if (!(await store.parked.failed(this.#key, head))) return false
    if (head.do === 'bury') {
      const { group, topic, partition } = this.#key.partition
      if (head.publish.length > 0) onPublished()
      tally.deadLetters += 1
      const { policy, errorClass } = head.letter
      channels.consumerDeadLetter.publish({ group, topic, partition, offset: entry.record.offset, policy, errorClass })
    }
    return true
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
    return this.#buried(entry, handler, failure, charged, this.#key.attempts + 1)
  }

  #buried(
    entry: Entry,
    handler: Handler | null,
    failure: Failure,
    attempts: readonly FailedAttempt[],
    retryCount: number,
  ): Extract<HeadFailure, { do: 'bury' }> {
    const settings = { ...this.#settings, group: this.#key.partition.group }
    const letter = { ...deadLetterOf(entry, handler, failure, attempts, settings), retryCount }
    return { do: 'bury', letter, publish: toDeadLetterTopic(entry, letter, settings) }
  }
}

/** The words of a failure may be the handler's, and quote a payload. */
function notTried({ topic, partition }: PartitionRef, { errorClass }: Failure): Error {
  return new Error(
    `A key that waits in ${topic}-${partition} could not be tried: what it needs was away, the database or a schema, or something else was in its way (${errorClass}). It is tried again.`,
  )
}
