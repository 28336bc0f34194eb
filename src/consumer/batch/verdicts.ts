import type { OutboxMessage } from '../../message/outbox-message.ts'
import type { LogRecord } from '../../message/port.ts'
import { breakerFailure } from '../../retry/circuit-breaker.ts'
import { type Failure, failureOf, signatureOf } from '../../retry/failure.ts'
import { nextStep, retryPolicy } from '../../retry/retry-policy.ts'
import { channels } from '../../telemetry/channels.ts'
import { withAttempt } from './attempts.ts'
import type { BatchOrder, BatchResult } from './batch-order.ts'
import type { BatchSettings } from './batch-settings.ts'
import { deadLetterOf } from './dead-letter-of.ts'
import type { Entry } from './entry.ts'
import type { AfterFailure } from './execution.ts'
import type { Handler } from '../handler.ts'
import { type Failed, toDeadLetterTopic, toRetryTopic } from './pass-on.ts'
import type { Hopeless, Task } from './plan.ts'
import type { DeadLetter, Parking } from '../port.ts'

/** What becomes of a message that failed, as long as it is its own fault. */
interface Verdict {
  readonly entry: Entry
  readonly handler: Handler | null
  readonly failure: Failure
  /** Which charged run of it failed, from 1; `null`: nobody is charged. */
  readonly charged: number | null
  readonly then: Then
}

type Then =
  | { readonly do: 'park'; readonly park: Parking }
  | { readonly do: 'pass on'; readonly copy: OutboxMessage }
  | { readonly do: 'bury'; readonly letter: DeadLetter; readonly copies: readonly OutboxMessage[] }

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
    return this.#verdicts.flatMap(({ then }) => (then.do === 'park' ? then.park : []))
  }

  get buried(): readonly DeadLetter[] {
    return this.#verdicts.flatMap(({ then }) => (then.do === 'bury' ? then.letter : []))
  }

  /** What goes to retry topics and to the topic of dead letters. */
  get publish(): readonly OutboxMessage[] {
    return this.#verdicts.flatMap(({ then }) => (then.do === 'park' ? [] : then.do === 'pass on' ? then.copy : then.copies))
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
      const { entry, handler, failure } = verdict
      if (handler === null || isForItself(failure) || this.#succeeded.has(handler.name) || !this.#opens(handler.name, verdict))
        return verdict
      if (!isProbe || !mayBeItsFault(failure)) {
        held ??= failure
        return verdict
      }
      // What has waited in a retry topic, and fails for a reason of its own, would be passed on for ever.
      if (entry.earlier !== null && !breaker.explains({ is: failure.is, signature: signatureOf(failure) })) return verdict
      return this.#uncharged(entry, handler, failure, 0)
    })
    return held === null ? null : { outcome: 'held', failure: held }
  }

  /** The run has committed. */
  committed(): void {
    const { tally } = this.#settings
    const { group, topic, partition } = this.#order.lane
    tally.immediateRetries += this.#again
    for (const { entry, handler, failure, charged, then } of this.#verdicts) {
      const { record } = entry
      if (failure.is !== 'poison' && charged !== null) {
        tally.retries += 1
        const { errorClass } = failure
        channels.consumerRetry.publish({ group, topic, partition, offset: record.offset, attempt: charged, errorClass })
      }
      if (then.do === 'pass on') tally.passedOn += 1
      if (then.do !== 'park') continue
      const { afterMs } = then.park
      this.#settings.onParked({ handler: handler?.name ?? '', partition: this.#order.lane, record, afterMs, charged: charged !== null })
    }
  }

  #opens(handler: string, { entry: { record, earlier }, failure: failed }: Verdict): boolean {
    const { breaker, clock } = this.#settings
    const key = record.key === null ? `offset ${record.offset}` : record.key.toString('base64')
    const before = earlier === null ? null : (earlier.attempts.at(-1)?.error ?? '')
    return breaker!.failed(breakerFailure(failed, { handler, key, before }), clock.elapsed(), clock.random()) === 'hold'
  }

  #judge(entry: Entry, handler: Handler | null, failure: Failure): AfterFailure {
    const verdict =
      failure.laterMs === null ? this.#charged(entry, handler, failure) : this.#uncharged(entry, handler, failure, failure.laterMs)
    this.#verdicts.push(verdict)
    const { then } = verdict
    return then.do === 'park' || (then.do === 'bury' && then.letter.policy === 'block') ? 'queue' : 'go on'
  }

  #charged(entry: Entry, handler: Handler | null, failure: Failure): Verdict {
    const { clock, retryTopics } = this.#settings
    const now = clock.now()
    const charged = (entry.earlier?.count ?? 0) + 1
    const attempts = withAttempt(entry.earlier?.attempts ?? [], { at: now, error: failure.reason })
    const { at: firstFailedAt } = attempts[0]!
    const step = nextStep(this.#policy(handler), { is: failure.is, attempts: charged, firstFailedAt, now, random: clock.random() })
    const verdict = { entry, handler, failure, charged }
    const failed = { entry, failure, attempts, count: charged }
    if (step.do === 'bury') return { ...verdict, then: this.#bury(failed, handler) }
    if (retryTopics.areOn) return { ...verdict, then: this.#passOn(failed, handler, null) }
    return { ...verdict, then: { do: 'park', park: { record: entry.record, reason: failure.reason, attempts, afterMs: step.afterMs } } }
  }

  /** It waits, by nobody's fault. */
  #uncharged(entry: Entry, handler: Handler | null, failure: Failure, afterMs: number): Verdict {
    const verdict = { entry, handler, failure, charged: null }
    const { attempts = [], count = 0 } = entry.earlier ?? {}
    if (this.#settings.retryTopics.areOn) return { ...verdict, then: this.#passOn({ entry, failure, attempts, count }, handler, afterMs) }
    return { ...verdict, then: { do: 'park', park: { record: entry.record, reason: failure.reason, attempts: [], afterMs } } }
  }

  /** What fits into no retry topic can be tried again by redrive alone. */
  #passOn(failed: Failed, handler: Handler | null, pauseMs: number | null): Then {
    const passed = toRetryTopic(failed, pauseMs, this.#forGroup)
    return 'copy' in passed ? { do: 'pass on', copy: passed.copy } : this.#bury({ ...failed, failure: passed.tooLarge }, handler)
  }

  #bury({ entry, failure, attempts, count }: Failed, handler: Handler | null): Then {
    // What nobody was charged for is counted where it was the end of the message.
    const known = attempts.length > 0 ? attempts : [{ at: this.#settings.clock.now(), error: failure.reason }]
    const letter = { ...deadLetterOf(entry, handler, failure, known, this.#forGroup), retryCount: Math.max(count, 1) }
    return { do: 'bury', letter, copies: toDeadLetterTopic(entry, letter, this.#forGroup) }
  }

  get #forGroup(): BatchSettings & { readonly group: string } {
    return { ...this.#settings, group: this.#order.lane.group }
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
