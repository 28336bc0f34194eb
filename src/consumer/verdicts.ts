import type { LogRecord } from '../message/port.ts'
import { type Failure, failureOf, signatureOf } from '../retry/failure.ts'
import { nextStep, retryPolicy } from '../retry/retry-policy.ts'
import { channels } from '../telemetry/channels.ts'
import { withAttempt } from './attempts.ts'
import type { BatchOrder, BatchResult } from './batch-order.ts'
import type { BatchSettings } from './batch-settings.ts'
import { deadLetterOf } from './dead-letter-of.ts'
import type { Entry } from './entry.ts'
import type { AfterFailure } from './execution.ts'
import type { Handler } from './handler.ts'
import type { Hopeless, Task } from './plan.ts'
import type { DeadLetter, Parking } from './port.ts'

/** What becomes of a message that failed, as long as it is its own fault. */
type Verdict = { readonly handler: Handler | null; readonly failure: Failure } & (
  { readonly park: Parking; readonly letter: null } | { readonly park: null; readonly letter: DeadLetter }
)

/** What becomes of the messages of one run of a batch that fail in it. Counts only if the run commits. */
export class Verdicts {
  readonly #settings: BatchSettings
  readonly #order: BatchOrder
  readonly #succeeded = new Set<string>()
  #verdicts: Verdict[] = []
  #again = 0

  constructor(settings: BatchSettings, order: BatchOrder) {
    this.#settings = settings
    this.#order = order
  }

  get parked(): readonly Parking[] {
    return this.#verdicts.flatMap(({ park }) => park ?? [])
  }

  get buried(): readonly DeadLetter[] {
    return this.#verdicts.flatMap(({ letter }) => letter ?? [])
  }

  /** Keys that wait from now on, base64. */
  get parkedKeys(): readonly string[] {
    const waiting = [...this.parked, ...this.buried.filter(({ policy }) => policy === 'block')]
    return waiting.flatMap(({ record: { key } }) => (key === null ? [] : [key.toString('base64')]))
  }

  succeeded(handler: Handler): void {
    this.#succeeded.add(handler.name)
  }

  failed({ entry, handler }: Task, tries: number, error: unknown): AfterFailure {
    const failure = failureOf(error)
    const mayPass = failure.is !== 'poison' && failure.laterMs === null && this.#settings.breaker?.isOpen !== true
    if (mayPass && tries <= this.#policy(handler).immediate) {
      this.#again += 1
      return 'again'
    }
    return this.#judge(entry, handler, failure)
  }

  /** A message that was not run. `waiting` takes it where an earlier one of its key waits. */
  condemn({ entry, handler, error }: Hopeless, waiting: LogRecord[]): void {
    const { key } = entry.record
    if (key !== null && this.parkedKeys.includes(key.toString('base64'))) return void waiting.push(entry.record)
    const failure = this.#order.verdict ?? failureOf(error)
    // Nobody can say what it is, so nobody will.
    this.#judge(entry, handler, handler === null ? { ...failure, is: 'poison' } : failure)
  }

  /**
   * Is it the messages' fault? Where others of the same handler succeeded in the same run, it is. Else the breaker says so; if it is not, the run must not
   * commit, but for a probe, which waits uncharged where it would keep others from being probed.
   */
  held(): Extract<BatchResult, { outcome: 'held' }> | null {
    const { breaker } = this.#settings
    if (breaker === null) return null
    const isProbe = breaker.isOpen
    for (const name of this.#succeeded) breaker.succeeded(name)
    let held: Failure | null = null
    this.#verdicts = this.#verdicts.map((verdict) => {
      const { handler, failure } = verdict
      if (handler === null || isForItself(failure) || this.#succeeded.has(handler.name) || !this.#opens(handler.name, verdict))
        return verdict
      if (!isProbe || !mayBeItsFault(failure)) {
        held ??= failure
        return verdict
      }
      const { record } = verdict.park ?? verdict.letter
      return { handler, failure, park: { record, reason: failure.reason, attempts: [], afterMs: 0 }, letter: null }
    })
    return held === null ? null : { outcome: 'held', failure: held }
  }

  /** The run has committed. */
  committed(): void {
    const { tally } = this.#settings
    const { group, topic, partition } = this.#order.lane
    tally.immediateRetries += this.#again
    for (const { handler, failure, park, letter } of this.#verdicts) {
      const { record, attempts } = park ?? letter
      if (failure.is !== 'poison' && attempts.length > 0) {
        tally.retries += 1
        channels.consumerRetry.publish({ group, topic, partition, offset: record.offset, attempt: 1, errorClass: failure.errorClass })
      }
      if (park === null) continue
      const { afterMs } = park
      this.#settings.onParked({ handler: handler?.name ?? '', partition: this.#order.lane, record, afterMs, charged: attempts.length > 0 })
    }
  }

  #opens(handler: string, { failure: failed, park, letter }: Verdict): boolean {
    const { breaker, clock } = this.#settings
    const { record } = park ?? letter
    const key = record.key === null ? `offset ${record.offset}` : record.key.toString('base64')
    const { is, errorClass } = failed
    const failure = { handler, is, errorClass, signature: signatureOf(failed), key, first: true }
    return breaker!.failed(failure, clock.elapsed(), clock.random()) === 'hold'
  }

  #judge(entry: Entry, handler: Handler | null, failure: Failure): AfterFailure {
    const { clock } = this.#settings
    const { record } = entry
    const { reason } = failure
    if (failure.laterMs !== null) {
      this.#verdicts.push({ handler, failure, park: { record, reason, attempts: [], afterMs: failure.laterMs }, letter: null })
      return 'queue'
    }
    const now = clock.now()
    const attempts = withAttempt([], { at: now, error: reason })
    const step = nextStep(this.#policy(handler), { is: failure.is, attempts: 1, firstFailedAt: now, now, random: clock.random() })
    if (step.do === 'park') {
      this.#verdicts.push({ handler, failure, park: { record, reason, attempts, afterMs: step.afterMs }, letter: null })
      return 'queue'
    }
    const letter = deadLetterOf(entry, handler, failure, attempts, { ...this.#settings, group: this.#order.lane.group })
    this.#verdicts.push({ handler, failure, park: null, letter })
    return letter.policy === 'block' ? 'queue' : 'go on'
  }

  #policy(handler: Handler | null): BatchSettings['retry'] {
    return retryPolicy(this.#settings.retry, handler?.retry)
  }
}

/** It says nothing of the state of things. */
function isForItself({ laterMs, errorClass }: Failure): boolean {
  return laterMs !== null || errorClass === 'PROCESS_CRASHED'
}

/** Also that its handler does not return: one that never does would be the probe for ever. */
function mayBeItsFault({ is, errorClass }: Failure): boolean {
  return errorClass === 'HANDLER_TIMEOUT' || (is !== 'transient' && is !== 'fenced')
}
