import type { Clock } from '../internal/clock.ts'
import { deferred } from '../internal/deferred.ts'
import type { OutboxMessage } from '../message/outbox-message.ts'
import type { EnvelopeOptions } from '../message/read-envelope.ts'
import { channels } from '../telemetry/channels.ts'
import type { BatchOrder, BatchResult, Failure } from './batch-order.ts'
import { type Call, Execution } from './execution.ts'
import { failureOf } from './failure.ts'
import type { DeadLetterPolicy } from './failure-policy.ts'
import type { Handler, Routes } from './handler.ts'
import { leaderBefore } from './leaders.ts'
import type { Optimism } from './optimism.ts'
import { type Plan, type Task, planBatch } from './plan.ts'
import type { BatchEnd, BatchTransaction, ConsumerStore, DeadLetter } from './port.ts'
import type { Tally } from './tally.ts'

export interface BatchSettings {
  readonly store: ConsumerStore
  readonly routes: Routes
  readonly envelope: EnvelopeOptions
  readonly deadLetter: DeadLetterPolicy
  readonly codeVersion: string | null
  readonly clock: Clock
  readonly optimism: Optimism
  readonly tally: Tally
  onPublished(): void
}

/**
 * Runs one lane batch to its end: reads it, runs the handlers in one transaction with the position, and says how it went. Handlers run side by
 * side at first; if that could make a difference, or any of them fails, everything is rolled back and done again one by one.
 * Never rejects. `signal` aborts when the partition is given up.
 */
export async function runBatch(order: BatchOrder, settings: BatchSettings, signal: AbortSignal): Promise<BatchResult> {
  const started = settings.clock.elapsed()
  try {
    const plan = await planBatch(order, settings)
    const run = new BatchRun(order, plan, settings, signal, started)
    return (await run.attempt('together')) ?? (await run.attempt('one by one'))!
  } catch (error) {
    return { outcome: 'unavailable', failure: failureOf(error) }
  }
}

type Manner = 'together' | 'one by one'

/** Handlers that have all ended well. */
interface Done {
  readonly tasks: readonly Task[]
  readonly calls: readonly Call[]
  readonly publish: readonly OutboxMessage[]
}

class BatchRun {
  readonly #order: BatchOrder
  readonly #plan: Plan
  readonly #settings: BatchSettings
  readonly #signal: AbortSignal
  readonly #started: number

  constructor(order: BatchOrder, plan: Plan, settings: BatchSettings, signal: AbortSignal, started: number) {
    this.#order = order
    this.#plan = plan
    this.#settings = settings
    this.#signal = signal
    this.#started = started
  }

  /** `null`: abandoned, to be done one by one. */
  async attempt(manner: Manner): Promise<BatchResult | null> {
    if (this.#signal.aborted) return { outcome: 'dropped' }
    const batch = await this.#settings.store.begin(this.#order.lane)
    const run = new AbortController()
    const gone = deferred<'gone'>()
    const abort = (): void => {
      run.abort()
      gone.resolve('gone')
    }
    this.#signal.addEventListener('abort', abort, { once: true })
    try {
      const result = await this.#within(batch, manner, run, gone.promise)
      if (result?.outcome !== 'committed') await batch.rollBack()
      return result
    } catch (error) {
      const result = this.#blamed(batch, error)
      await batch.rollBack()
      return result
    } finally {
      this.#signal.removeEventListener('abort', abort)
    }
  }

  async #within(batch: BatchTransaction, manner: Manner, run: AbortController, gone: Promise<'gone'>): Promise<BatchResult | null> {
    const tasks = await this.#newTasks(batch)
    const calls = this.#calls(tasks, manner)
    const execution = new Execution(calls, batch, { attempt: this.#order.attempt, run })
    const done = await Promise.race([execution.run(), gone])
    // A handler may wait for ever; who gave the partition up does not wait for it.
    if (done === 'gone' || this.#signal.aborted) {
      execution.abandon()
      await batch.rollBack('at once')
      return { outcome: 'dropped' }
    }
    if (done.outcome === 'abandoned') return this.#abandoned(done.by, batch)
    if (done.outcome === 'failed') return this.#failed(batch, calls[done.call]!, done.error)
    return this.#commit(batch, { tasks, calls, publish: done.publish })
  }

  /** Without those that the group has handled before. */
  async #newTasks(batch: BatchTransaction): Promise<readonly Task[]> {
    const { tasks } = this.#plan
    const ids = tasks.flatMap(({ inboxId }) => (inboxId === null ? [] : [inboxId]))
    if (ids.length === 0) return tasks
    const handled = await batch.alreadyHandled(ids)
    return handled.size === 0 ? tasks : tasks.filter(({ inboxId }) => inboxId === null || !handled.has(inboxId))
  }

  #calls(tasks: readonly Task[], manner: Manner): Call[] {
    const exclusive = new Map<Handler, boolean>()
    for (const { handler } of tasks) {
      if (exclusive.has(handler)) continue
      // Charged runs and second runs must tell exactly who failed.
      exclusive.set(handler, manner === 'one by one' || this.#order.attempt > 1 || this.#settings.optimism.isExclusive(handler))
    }
    return callsOf(tasks, (handler) => exclusive.get(handler)!)
  }

  #abandoned(by: Handler | null, batch: BatchTransaction): BatchResult | null {
    this.#settings.tally.abandonedRuns += 1
    if (by !== null) this.#settings.optimism.disappointed(by)
    // With the connection gone, doing it again at once would only fail again.
    return batch.blame(null) === 'lost' ? { outcome: 'unavailable', failure: lostConnection } : null
  }

  #failed(batch: BatchTransaction, call: Call, error: unknown): BatchResult {
    const failure = failureOf(error)
    const blame = batch.blame(error)
    if (blame === 'lost') return { outcome: 'unavailable', failure }
    if (blame === 'conflict') return { outcome: 'conflict', failure }
    return { outcome: 'failed', first: call.messages[0]!.offset, last: call.messages.at(-1)!.offset, failure }
  }

  #blamed(batch: BatchTransaction, error: unknown): BatchResult {
    const failure = failureOf(error)
    return { outcome: batch.blame(error) === 'conflict' ? 'conflict' : 'unavailable', failure }
  }

  async #commit(batch: BatchTransaction, { tasks, calls, publish }: Done): Promise<BatchResult | null> {
    const deadLetter = this.#deadLetter()
    const { nextOffset } = this.#plan
    const end: BatchEnd = {
      position: this.#order.position,
      nextOffset,
      leaderEpoch: leaderBefore(this.#order.leaders, nextOffset),
      highWater: this.#plan.highWater,
      handled: tasks.flatMap(({ inboxId }) => (inboxId === null ? [] : [inboxId])),
      queue: this.#plan.queue,
      deadLetter,
      publish,
    }
    const result = await batch.commit(end)
    if (result.outcome === 'refused' && calls.some(({ exclusive }) => !exclusive)) return this.#abandoned(null, batch)
    if (result.outcome === 'refused') return this.#refused(tasks, result.error)
    if (result.outcome !== 'committed') return { outcome: 'reload' }
    this.#count(tasks.length, deadLetter)
    if (deadLetter !== null) this.#tell(deadLetter)
    if (publish.length > 0) this.#settings.onPublished()
    const parkedKey = deadLetter?.policy === 'block' ? deadLetter.record.key!.toString('base64') : null
    return {
      outcome: 'committed',
      position: result.position,
      handled: tasks.length,
      ms: this.#settings.clock.elapsed() - this.#started,
      parkedKey,
    }
  }

  /** The commit was refused, so any of the handled messages may be at fault. */
  #refused(tasks: readonly Task[], error: unknown): BatchResult {
    const failure = failureOf(error)
    const [first, last] = [tasks[0], tasks.at(-1)]
    if (first === undefined || last === undefined) return { outcome: 'unavailable', failure }
    return { outcome: 'failed', first: first.message.offset, last: last.message.offset, failure }
  }

  #count(handled: number, deadLetter: DeadLetter | null): void {
    const { tally } = this.#settings
    const { tasks, queue, skippedTypes, repeats } = this.#plan
    tally.batches += 1
    tally.handled += handled
    tally.queued += queue.length
    tally.duplicatesHighWater += repeats.highWater
    tally.duplicatesInbox += repeats.batch + tasks.length - handled
    if (deadLetter !== null) tally.deadLetters += 1
    tally.skipped(skippedTypes)
  }

  #tell({ record: { offset }, policy, errorClass }: DeadLetter): void {
    if (!channels.consumerDeadLetter.hasSubscribers) return
    const { group, topic, partition } = this.#order.lane
    channels.consumerDeadLetter.publish({ group, topic, partition, offset, policy, errorClass })
  }

  #deadLetter(): DeadLetter | null {
    const { verdict } = this.#order
    const { hopeless } = this.#plan
    if (hopeless === null) return null
    const { entry, handler } = hopeless
    const { record, envelope } = entry
    const failure: Failure = verdict?.failure ?? failureOf(hopeless.error)
    const policy = handler?.deadLetter ?? this.#settings.deadLetter
    return {
      record,
      messageId: envelope?.id ?? null,
      type: envelope?.type ?? null,
      handler: handler?.name ?? null,
      // Nothing can wait behind a message without a key.
      policy: record.key === null ? 'skip' : policy,
      ...failure,
      attempts: verdict?.attempts ?? [{ at: this.#settings.clock.now(), error: failure.reason }],
      codeVersion: this.#settings.codeVersion,
    }
  }
}

const lostConnection: Failure = {
  errorClass: 'DATABASE_CONNECTION_LOST',
  reason: 'The connection to the database broke while handlers ran.',
  stack: null,
}

/** One call for each message, or for each run of messages of one batch handler. */
function callsOf(tasks: readonly Task[], isExclusive: (handler: Handler) => boolean): Call[] {
  const calls: Call[] = []
  for (let start = 0, end = 0; start < tasks.length; start = end) {
    const { handler } = tasks[start]!
    end = start + 1
    if (!handler.batch) {
      calls.push(callOfOne(tasks[start]!, isExclusive(handler)))
      continue
    }
    while (end < tasks.length && tasks[end]!.handler === handler) end += 1
    calls.push(callOfRun(handler, tasks.slice(start, end), isExclusive(handler)))
  }
  return calls
}

/** Runs for every message, so it makes no more than it must. */
function callOfOne({ entry, handler, message }: Task, exclusive: boolean): Call {
  const { record, envelope } = entry
  const keys = record.key === null ? noKeys : [record.key.toString('latin1')]
  return { handler, messages: [message], identity: envelope!.identity, timestamp: record.timestamp, keys, exclusive }
}

const noKeys: readonly string[] = []

function callOfRun(handler: Handler, tasks: readonly Task[], exclusive: boolean): Call {
  const first = tasks[0]!.entry
  return {
    handler,
    messages: tasks.map(({ message }) => message),
    identity: first.envelope!.identity,
    timestamp: first.record.timestamp,
    keys: keysOf(tasks),
    exclusive,
  }
}

function keysOf(tasks: readonly Task[]): readonly string[] {
  const keys = tasks.flatMap(({ entry: { record } }) => (record.key === null ? noKeys : [record.key.toString('latin1')]))
  return [...new Set(keys)]
}
