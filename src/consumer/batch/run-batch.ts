import { TidemarkError } from '../../errors.ts'
import type { OutboxMessage } from '../../message/outbox-message.ts'
import { type Failure, failureOf } from '../../retry/failure.ts'
import { channels } from '../../telemetry/channels.ts'
import type { BatchOrder, BatchResult } from './batch-order.ts'
import type { BatchSettings } from './batch-settings.ts'
import { type Manner, callsOf } from './call.ts'
import { Execution, type ExecutionOutcome } from './execution.ts'
import type { Handler } from '../handler.ts'
import { leaderBefore } from '../partition/leaders.ts'
import { mostCrashes, crashed } from './crashed.ts'
import { type Plan, type Task, planBatch } from './plan.ts'
import type { BatchEnd, BatchTransaction, DeadLetter } from '../port.ts'
import { type Stoppable, untilStopped } from './stoppable.ts'
import { Verdicts } from './verdicts.ts'

/**
 * Runs one lane batch to its end: reads it, runs the handlers in one transaction with the position, and says how it went. Handlers run side by
 * side at first. If some of them fail after they have done something, everything is rolled back and done again, those alone and in a way that can be undone;
 * if running side by side could make a difference, one by one.
 * Never rejects. `signal` aborts when the partition is given up.
 */
export async function runBatch(order: BatchOrder, settings: BatchSettings, signal: AbortSignal): Promise<BatchResult> {
  const started = settings.clock.elapsed()
  try {
    const noted = order.suspect ? await note(order, settings) : order
    if (noted === null) return { outcome: 'reload', isHeld: false }
    const result = await runNoted(noted, settings, signal, started)
    if (order.suspect && result.outcome !== 'committed') await takeBack(order, settings)
    return result
  } catch (error) {
    return { outcome: 'unavailable', failure: failureOf(error) }
  }
}

async function runNoted(order: BatchOrder, settings: BatchSettings, signal: AbortSignal, started: number): Promise<BatchResult> {
  try {
    const plan = await planBatch(order, settings)
    return await new BatchRun(order, plan, settings, signal, started).toItsEnd()
  } catch (error) {
    return { outcome: 'unavailable', failure: failureOf(error) }
  }
}

/** A suspect is noted before it runs; one that was noted often enough, and never done, is not run any more. */
async function note(order: BatchOrder, { store }: BatchSettings): Promise<BatchOrder | null> {
  const { offset } = order.entries[0]!.record
  const known = order.mark.of(offset)
  if (known !== null) return judged(order, known)
  const noted = await store.mark(order.lane, order.position, offset)
  if (noted === null) return null
  order.mark.note(offset, noted.marks)
  return judged({ ...order, position: { ...order.position, at: noted.at } }, noted.marks)
}

/** It was run, and this process lives: should it end before the next run, that is no fault of this message. Where the database is away, the note stays. */
async function takeBack({ lane, position, entries, mark }: BatchOrder, { store }: BatchSettings): Promise<void> {
  const isTakenBack = await store.unmark(lane, position, entries[0]!.record.offset).then(
    () => true,
    () => false,
  )
  if (isTakenBack) mark.takenBack()
}

function judged(order: BatchOrder, marks: number): BatchOrder {
  return { ...order, verdict: order.verdict ?? (marks > mostCrashes ? failureOf(crashed(mostCrashes)) : null) }
}

/** Runs side by side: each may find messages that fail late, which are undone by themselves in the next one. */
const mostRunsTogether = 3

/** Handlers that have all ended, well or with nothing left behind. */
interface Done {
  readonly tasks: readonly Task[]
  readonly held: readonly Task[]
  readonly failed: ReadonlySet<Task>
  readonly publish: readonly OutboxMessage[]
  readonly verdicts: Verdicts
  readonly exclusive: boolean
  readonly oneByOne: boolean
}

class BatchRun {
  readonly #order: BatchOrder
  readonly #plan: Plan
  readonly #settings: BatchSettings
  readonly #signal: AbortSignal
  readonly #started: number
  /** Have failed in a former run after they had done something. */
  readonly #culprits = new Set<Task>()
  #runs = 0

  constructor(order: BatchOrder, plan: Plan, settings: BatchSettings, signal: AbortSignal, started: number) {
    this.#order = order
    this.#plan = plan
    this.#settings = settings
    this.#signal = signal
    this.#started = started
  }

  async toItsEnd(): Promise<BatchResult> {
    do {
      const known = this.#culprits.size
      const result = await this.#attempt(false)
      if (result !== null) return result
      if (this.#culprits.size === known) break
    } while (this.#runs < mostRunsTogether)
    return (await this.#attempt(true))!
  }

  /** `null`: abandoned, to be done again. */
  async #attempt(oneByOne: boolean): Promise<BatchResult | null> {
    if (this.#signal.aborted) return { outcome: 'dropped' }
    this.#runs += 1
    const batch = await this.#settings.store.begin(this.#order.lane)
    try {
      const result = await untilStopped(this.#signal, (stoppable) => this.#within(batch, oneByOne, stoppable))
      if (result?.outcome !== 'committed') await batch.rollBack()
      return result
    } catch (error) {
      const result = this.#blamed(batch, error)
      await batch.rollBack()
      return result
    }
  }

  async #within(batch: BatchTransaction, oneByOne: boolean, { run, gone }: Stoppable): Promise<BatchResult | null> {
    const tasks = await this.#newTasks(batch)
    const calls = callsOf(tasks, oneByOne || tasks.length === 1 ? () => 'undoable' : this.#mannerOf())
    const verdicts = new Verdicts(this.#settings, this.#order)
    const execution = new Execution(calls, batch, {
      group: this.#order.lane.group,
      allowsRaw: true,
      attempt: () => 1,
      run,
      clock: this.#settings.clock,
      timeoutMs: (handler) => handler.timeoutMs ?? this.#settings.timeoutMs,
      failed: (task, tries, error) => verdicts.failed(task, tries, error),
      succeeded: (handler) => verdicts.succeeded(handler),
    })
    const done = await Promise.race([execution.run(), gone])
    if (done === 'gone' || this.#signal.aborted) {
      execution.abandon()
      await batch.rollBack('at once')
      return { outcome: 'dropped' }
    }
    // Asked before the connection is given up, which a handler that does not return makes necessary and is no outage.
    const isLost = batch.blame(null) === 'lost'
    if (execution.isLate) await batch.rollBack('at once')
    if (done.outcome !== 'done') return isLost ? lost() : this.#undone(done, batch)
    const exclusive = calls.every(({ manner }) => manner !== 'beside others')
    return this.#commit(batch, { ...done, tasks, verdicts, exclusive, oneByOne })
  }

  #undone(done: Exclude<ExecutionOutcome, { outcome: 'done' }>, batch: BatchTransaction): BatchResult | null {
    switch (done.outcome) {
      case 'abandoned':
        for (const task of done.culprits) this.#isCulprit(task)
        return this.#abandoned(done.by)
      case 'overdue':
        // Beside others it may have waited for one of them. By itself it is told apart, and so are the next ones of its handler.
        return done.alone ? failedFrom(done.call.tasks, failureOf(done.error)) : this.#abandoned(done.call.handler)
      case 'failed':
        return this.#failed(batch, done.call.tasks, done.error)
    }
  }

  /** Without those that the group has handled before. */
  async #newTasks(batch: BatchTransaction): Promise<readonly Task[]> {
    const { tasks } = this.#plan
    const ids = tasks.flatMap(({ inboxId }) => (inboxId === null ? [] : [inboxId]))
    if (ids.length === 0) return tasks
    const handled = await batch.alreadyHandled(ids)
    return handled.size === 0 ? tasks : tasks.filter(({ inboxId }) => inboxId === null || !handled.has(inboxId))
  }

  #mannerOf(): (task: Task) => Manner {
    const mannerOf = this.#settings.optimism.manners()
    return (task) => (this.#culprits.has(task) ? 'undoable' : mannerOf(task.handler))
  }

  #isCulprit(task: Task): void {
    this.#culprits.add(task)
    this.#settings.optimism.spoiled(task.handler)
  }

  #abandoned(by: Handler | null): null {
    this.#settings.tally.abandonedRuns += 1
    if (by !== null) this.#settings.optimism.disappointed(by)
    return null
  }

  #failed(batch: BatchTransaction, tasks: readonly Task[], error: unknown): BatchResult {
    const failure = failureOf(error)
    const blame = batch.blame(error)
    if (blame === 'lost') return { outcome: 'lost', failure }
    if (blame === 'conflict') return { outcome: 'conflict', failure }
    return failedFrom(tasks, failure)
  }

  #blamed(batch: BatchTransaction, error: unknown): BatchResult {
    const failure = failureOf(error)
    return { outcome: batch.blame(error) === 'conflict' ? 'conflict' : 'unavailable', failure }
  }

  async #commit(batch: BatchTransaction, done: Done): Promise<BatchResult | null> {
    const { verdicts } = done
    const { hopeless, nextOffset } = this.#plan
    const waiting = [...this.#plan.queue, ...done.held.map(({ entry }) => entry.record)]
    if (hopeless !== null) verdicts.condemn(hopeless, waiting)
    const held = verdicts.held()
    if (held !== null) return held
    const publish = [...done.publish, ...verdicts.publish]
    const handled = done.tasks.filter((task) => !done.failed.has(task) && !done.held.includes(task))
    const end: BatchEnd = {
      position: this.#order.position,
      ran: this.#ran(),
      nextOffset,
      leaderEpoch: leaderBefore(this.#order.leaders, nextOffset),
      highWater: this.#plan.highWater,
      handled: handled.flatMap(({ inboxId }) => (inboxId === null ? [] : [inboxId])),
      queue: waiting.sort((a, b) => a.offset - b.offset),
      park: verdicts.parked,
      deadLetters: verdicts.buried,
      bounds: this.#settings.bounds,
      inFlight: this.#order.inFlight,
      publish,
    }
    const result = await batch.commit(end)
    if (result.outcome === 'refused' && !done.exclusive) return this.#abandoned(null)
    if (result.outcome === 'refused') return this.#refused(handled, result.error)
    if (result.outcome === 'full') return { outcome: 'full' }
    if (result.outcome !== 'committed') return { outcome: 'reload', isHeld: result.outcome === 'moved' }
    this.#count(handled.length, done.tasks.length, end)
    verdicts.committed()
    if (publish.length > 0) this.#settings.onPublished()
    return {
      outcome: 'committed',
      position: result.position,
      handled: handled.length,
      ms: this.#settings.clock.elapsed() - this.#started,
      parkedKeys: verdicts.parkedKeys,
      heldKeys: result.held,
      redone: done.oneByOne,
    }
  }

  /** Keys of all that was not left to wait behind its key. */
  #ran(): Buffer[] {
    const { tasks, hopeless } = this.#plan
    const entries = [...tasks.map(({ entry }) => entry), ...(hopeless === null ? [] : [hopeless.entry])]
    return entries.flatMap(({ record }) => record.key ?? [])
  }

  /** The commit was refused, so any of the handled messages may be at fault. */
  #refused(tasks: readonly Task[], error: unknown): BatchResult {
    const failure = failureOf(error)
    return tasks.length === 0 ? { outcome: 'unavailable', failure } : failedFrom(tasks, failure)
  }

  #count(handled: number, news: number, { queue, park, deadLetters }: BatchEnd): void {
    const { tally } = this.#settings
    const { tasks, skippedTypes, repeats } = this.#plan
    tally.batches += 1
    tally.handled += handled
    tally.queued += queue.length
    tally.parked += park.length
    tally.duplicatesHighWater += repeats.highWater
    tally.duplicatesInbox += repeats.batch + tasks.length - news
    tally.deadLetters += deadLetters.length
    tally.skipped(skippedTypes)
    for (const letter of deadLetters) this.#tell(letter)
  }

  #tell({ record: { offset }, policy, errorClass }: DeadLetter): void {
    if (!channels.consumerDeadLetter.hasSubscribers) return
    const { group, topic, partition } = this.#order.lane
    channels.consumerDeadLetter.publish({ group, topic, partition, offset, policy, errorClass })
  }
}

function failedFrom(tasks: readonly Task[], failure: Failure): BatchResult {
  return { outcome: 'failed', first: tasks[0]!.entry.record.offset, last: tasks.at(-1)!.entry.record.offset, failure }
}

/** Doing it again at once would only fail again. */
function lost(): BatchResult {
  const error = new TidemarkError('DATABASE_CONNECTION_LOST', 'The connection to the database broke while handlers ran.')
  return { outcome: 'lost', failure: failureOf(error) }
}
