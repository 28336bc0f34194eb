import type { LogRecord } from '../message/port.ts'
import { type Failure, failureOf } from '../retry/failure.ts'
import { nextStep, retryPolicy } from '../retry/retry-policy.ts'
import { channels } from '../telemetry/channels.ts'
import type { BatchOrder, BatchResult } from './batch-order.ts'
import type { BatchSettings } from './batch-settings.ts'
import { deadLetterOf } from './dead-letter-of.ts'
import type { Entry } from './entry.ts'
import type { AfterFailure } from './execution.ts'
import type { Handler } from './handler.ts'
import type { Hopeless, Task } from './plan.ts'
import type { DeadLetter, Parking } from './port.ts'

interface Charged {
  readonly handler: Handler | null
  readonly failure: Failure
  readonly record: LogRecord
}

/** What becomes of the messages of one run of a batch that fail in it. Counts only if the run commits. */
export class Verdicts {
  readonly parked: Parking[] = []
  readonly buried: DeadLetter[] = []
  /** The breaker is open, and the batch is not to commit. */
  held: Extract<BatchResult, { outcome: 'held' }> | null = null
  readonly #settings: BatchSettings
  readonly #order: BatchOrder
  readonly #charged: Charged[] = []
  #again = 0

  constructor(settings: BatchSettings, order: BatchOrder) {
    this.#settings = settings
    this.#order = order
  }

  /** Keys that wait from now on, base64. */
  get parkedKeys(): readonly string[] {
    const waiting = [...this.parked, ...this.buried.filter(({ policy }) => policy === 'block')]
    return waiting.flatMap(({ record: { key } }) => (key === null ? [] : [key.toString('base64')]))
  }

  failed({ entry, handler }: Task, tries: number, error: unknown): AfterFailure {
    const failure = failureOf(error)
    if (
      failure.is !== 'poison' &&
      failure.laterMs === null &&
      tries <= this.#policy(handler).immediate &&
      !this.#settings.breaker?.isOpen
    ) {
      this.#again += 1
      return 'again'
    }
    return this.#settle(entry, handler, failure)
  }

  /** A message that was not run. `waiting` takes it where an earlier one of its key waits. */
  condemn({ entry, handler, error }: Hopeless, waiting: LogRecord[]): AfterFailure {
    const { key } = entry.record
    if (key !== null && this.parkedKeys.includes(key.toString('base64'))) {
      waiting.push(entry.record)
      return 'queue'
    }
    const failure = this.#order.verdict ?? failureOf(error)
    // Nobody can say what it is, so nobody will.
    return this.#settle(entry, handler, handler === null ? { ...failure, is: 'poison' } : failure)
  }

  /** The run has committed: keys that failed in it are remembered, in case it turns out not to have been their fault. */
  committed(): void {
    const { tally } = this.#settings
    const { group, topic, partition } = this.#order.lane
    tally.immediateRetries += this.#again
    tally.retries += this.#charged.length
    for (const { failure, record } of this.#charged) {
      channels.consumerRetry.publish({ group, topic, partition, offset: record.offset, attempt: 1, errorClass: failure.errorClass })
    }
    for (const { record, attempts, afterMs } of this.parked) {
      const handler = this.#charged.find((one) => one.record === record)?.handler?.name ?? ''
      this.#settings.onParked({ handler, partition: this.#order.lane, record, afterMs, charged: attempts.length > 0 })
    }
  }

  #settle(entry: Entry, handler: Handler | null, failure: Failure): AfterFailure {
    const { record } = entry
    if (failure.laterMs !== null) return this.#park(entry, failure, [], failure.laterMs)
    const { clock, breaker } = this.#settings
    if (handler !== null && breaker !== null) {
      const probing = breaker.isOpen
      const key = record.key === null ? `offset ${record.offset}` : record.key.toString('base64')
      const signature = `${failure.errorClass} ${failure.frame ?? ''}`
      const charge = breaker.failed(
        { handler: handler.name, is: failure.is, errorClass: failure.errorClass, signature, key, first: true },
        clock.elapsed(),
        clock.random(),
      )
      if (charge === 'hold' && probing && failure.is !== 'transient' && failure.is !== 'fenced')
        // A probe that fails for what may be its own fault makes room for the next one.
        return this.#park(entry, failure, [], 0)
      if (charge === 'hold') {
        this.held = { outcome: 'held', failure }
        return 'stop'
      }
    }
    return this.#charge(entry, handler, failure)
  }

  #charge(entry: Entry, handler: Handler | null, failure: Failure): AfterFailure {
    const { clock } = this.#settings
    const now = clock.now()
    const attempts = [{ at: now, error: failure.reason }]
    const step = nextStep(this.#policy(handler), { is: failure.is, attempts: 1, firstFailedAt: now, now, random: clock.random() })
    if (failure.is !== 'poison') this.#charged.push({ handler, failure, record: entry.record })
    if (step.do === 'park') return this.#park(entry, failure, attempts, step.afterMs)
    const letter = deadLetterOf(entry, handler, failure, attempts, { ...this.#settings, group: this.#order.lane.group })
    this.buried.push(letter)
    return letter.policy === 'block' ? 'queue' : 'go on'
  }

  #park({ record }: Entry, { reason }: Failure, attempts: Parking['attempts'], afterMs: number): AfterFailure {
    this.parked.push({ record, reason, attempts, afterMs })
    return 'queue'
  }

  #policy(handler: Handler | null): BatchSettings['retry'] {
    return retryPolicy(this.#settings.retry, handler?.retry)
  }
}
