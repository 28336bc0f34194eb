import { breakerFailure } from '../../retry/circuit-breaker.ts'
import { type Failure, failureOf } from '../../retry/failure.ts'
import { nextStep, retryPolicy } from '../../retry/retry-policy.ts'
import { channels } from '../../telemetry/channels.ts'
import { withAttempt } from '../batch/attempts.ts'
import type { BatchSettings } from '../batch/batch-settings.ts'
import { deadLetterOf } from '../batch/dead-letter-of.ts'
import type { Entry } from '../batch/entry.ts'
import { toDeadLetterTopic } from '../batch/pass-on.ts'
import { mostUnhandledMs, unhandledPauseMs } from '../batch/unhandled.ts'
import type { Handler } from '../handler.ts'
import type { HeadFailure, LeasedKey } from '../parked-port.ts'
import type { FailedAttempt } from '../port.ts'

/** The head of a leased key. */
export interface Head {
  readonly key: LeasedKey
  readonly entry: Entry
  /** `null`: nobody can say what it is, or has a handler for it. */
  readonly handler: Handler | null
}

/** What becomes of heads that have failed: they wait on, or are dead letters, and their keys are given back. */
export class HeadFailures {
  readonly #settings: BatchSettings

  constructor(settings: BatchSettings) {
    this.#settings = settings
  }

  /** `held`: it is the failure of something greater; nothing was noted, and nobody is charged. Rejects when the database is away. */
  async failed(head: Head, failure: Failure): Promise<'noted' | 'moved' | 'held'> {
    const { key, entry } = head
    const charged = withAttempt(key.failures, { at: this.#settings.clock.now(), error: failure.reason })
    if (this.#isHeld(head, failure)) return 'held'
    if (!(await this.#note(head, this.#next(head, failure, charged)))) return 'moved'
    if (failure.laterMs === null) {
      const { group, topic, partition } = key.partition
      this.#settings.tally.retries += 1
      const { offset } = entry.record
      channels.consumerRetry.publish({ group, topic, partition, offset, attempt: key.attempts + 1, errorClass: failure.errorClass })
    }
    return 'noted'
  }

  /**
   * It waits, charged to nobody, for a process that has the handler: in a deployment that is under way there is one. When none has come for long, it is a dead letter,
   * which somebody is told of.
   */
  async unhandled(head: Head, error: unknown): Promise<void> {
    const { clock } = this.#settings
    const failure = failureOf(error)
    const now = clock.now()
    const { attempts: charged, failures } = head.key
    const attempts = failures.at(-1)?.error === failure.reason ? failures : withAttempt(failures, { at: now, error: failure.reason })
    const waitedMs = now - attempts.at(-1)!.at
    await this.#note(
      head,
      waitedMs < mostUnhandledMs
        ? { do: 'park', charged, attempts, reason: failure.reason, afterMs: unhandledPauseMs(waitedMs, clock.random()) }
        : this.#buried(head, failure, attempts, charged),
    )
  }

  #isHeld({ key, handler }: Head, failure: Failure): boolean {
    const { breaker, clock } = this.#settings
    if (failure.laterMs !== null || handler === null || failure.is === 'poison' || breaker === null) return false
    const before = key.failures.at(-1)?.error ?? ''
    const of = breakerFailure(failure, { handler: handler.name, key: key.key.toString('base64'), before })
    return breaker.failed(of, clock.elapsed(), clock.random(), 'retriers') === 'hold' && breaker.explains(of)
  }

  /** `false`: the lease, or the head, is another one now. */
  async #note({ key, entry }: Head, failure: HeadFailure): Promise<boolean> {
    const { store, tally, onPublished } = this.#settings
    if (!(await store.parked.failed(key, failure))) return false
    if (failure.do === 'bury') {
      const { group, topic, partition } = key.partition
      if (failure.publish.length > 0) onPublished()
      tally.deadLetters += 1
      const { policy, errorClass } = failure.letter
      channels.consumerDeadLetter.publish({ group, topic, partition, offset: entry.record.offset, policy, errorClass })
    }
    return true
  }

  #next(head: Head, failure: Failure, charged: readonly FailedAttempt[]): HeadFailure {
    const { clock, retry } = this.#settings
    const { attempts, failures } = head.key
    const { reason, is, laterMs } = failure
    if (laterMs !== null) return { do: 'park', charged: attempts, attempts: failures, reason, afterMs: laterMs }
    const step = nextStep(retryPolicy(retry, head.handler?.retry), {
      is,
      attempts: attempts + 1,
      firstFailedAt: charged[0]!.at,
      now: clock.now(),
      random: clock.random(),
    })
    if (step.do === 'park') return { do: 'park', charged: attempts + 1, attempts: charged, reason, afterMs: step.afterMs }
    return this.#buried(head, failure, charged, attempts + 1)
  }

  #buried(
    { key, entry, handler }: Head,
    failure: Failure,
    attempts: readonly FailedAttempt[],
    retryCount: number,
  ): Extract<HeadFailure, { do: 'bury' }> {
    const settings = { ...this.#settings, group: key.partition.group }
    const letter = { ...deadLetterOf(entry, handler, failure, attempts, settings), retryCount }
    return { do: 'bury', letter, publish: toDeadLetterTopic(entry, letter, settings) }
  }
}
