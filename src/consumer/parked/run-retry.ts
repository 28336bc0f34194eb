import { pause } from '../../internal/clock.ts'
import { backoffMs } from '../../internal/backoff.ts'
import { type Failure, failureOf } from '../../retry/failure.ts'
import { retryDelayMs } from '../../retry/retry-policy.ts'
import { channels } from '../../telemetry/channels.ts'
import type { BatchSettings } from '../batch/batch-settings.ts'
import { crashed, mostCrashes } from '../batch/crashed.ts'
import type { LeasedKey } from '../parked-port.ts'
import { mostConflicts, mostLosses } from '../partition/lane.ts'
import type { PartitionRef } from '../port.ts'
import { type Head, HeadFailures } from './head-failures.ts'
import { giveBack } from './give-back.ts'
import { type AttemptOutcome, type KeyTasks, RetryAttempt, type Uncharged } from './retry-attempt.ts'
import { type RetryPlan, planRetry } from './retry-plan.ts'
import { isGivenUp } from './suspicion.ts'

/** What a run of leased keys came to. The keys are given back in any case. */
export interface RetryResult {
  /** Messages whose handlers ran, or need not. */
  readonly ran: number
  /** Those of them that are done. */
  readonly done: number
  /** All keys went in one transaction. */
  readonly together: boolean
}

/** Its messages are run again after so long, when nobody is at fault. */
const pauseMs = { firstMs: 200, maxMs: 5_000 }

/** What a run of keys has to do with the consumer it is of. */
export interface RetrySurroundings {
  /** Aborts when the consumer has to stop now: what runs is given up. */
  readonly signal: AbortSignal
  /** Aborts when the consumer begins to stop: nobody waits for a database that is away. */
  readonly leaving: AbortSignal
  /** Something failed that is no message's fault. */
  trouble(error: unknown): void
}

/**
 * Tries the heads of keys again, and what waits behind them. All in one transaction at first, since most of what a retry costs is that. If anything fails in it, one key
 * after the other, so that what is charged is its own fault. Never rejects.
 */
export async function runRetry(keys: readonly LeasedKey[], settings: BatchSettings, surroundings: RetrySurroundings): Promise<RetryResult> {
  const run = new RetryRun(settings, surroundings)
  await run.run(keys)
  return run.result
}

class RetryRun {
  readonly #settings: BatchSettings
  readonly #surroundings: RetrySurroundings
  readonly #heads: HeadFailures
  /** Whoever has run their heads to an end, and lives, has shown that they end no process. */
  readonly #tried = new Set<LeasedKey>()
  #ran = 0
  #done = 0
  #isTogether = true

  constructor(settings: BatchSettings, surroundings: RetrySurroundings) {
    this.#settings = settings
    this.#surroundings = surroundings
    this.#heads = new HeadFailures(settings)
  }

  get result(): RetryResult {
    return { ran: this.#ran, done: this.#done, together: this.#isTogether }
  }

  async run(keys: readonly LeasedKey[]): Promise<void> {
    // Side by side: a codec may wait for a registry. What has to be noted of them is noted one by one, on one connection.
    const plans = await Promise.all(keys.map((key) => planRetry(key, this.#settings).then(known, unknown)))
    const ready: KeyTasks[] = []
    const others: KeyTasks[] = []
    for (const [i, key] of keys.entries()) {
      await this.#guarded([key], async () => {
        const tasks = await this.#prepared(key, plans[i]!())
        if (tasks !== null) (mayShare(tasks) ? ready : others).push(tasks)
      })
    }
    let left = [...(await this.#together(ready)), ...others]
    for (; left.length > 0; left = left.slice(1)) {
      const why = keys.length === 1 ? null : this.#whyNotNow()
      if (why !== null) return this.#giveBack(keysOf(left), why)
      await this.#guarded([left[0]!.key], () => this.#alone(left[0]!))
    }
  }

  /** `null`: there was nothing to run, and it is given back. */
  async #prepared(key: LeasedKey, { steps, unhandled, hopeless }: RetryPlan): Promise<KeyTasks | null> {
    if (unhandled !== null) {
      this.#surroundings.trouble(unhandled.error)
      await this.#heads.unhandled({ key, entry: unhandled.entry, handler: null }, unhandled.error)
    } else if (hopeless !== null) {
      const { entry, handler, error } = hopeless
      await this.#failed({ key, entry, handler }, handler === null ? { ...failureOf(error), is: 'poison' } : failureOf(error))
    } else if (isGivenUp(key)) {
      await this.#failed({ key, ...steps[0]! }, failureOf(crashed(mostCrashes)))
    } else {
      return { key, steps }
    }
    return null
  }

  /** Those that are left to be run by themselves, whoever failed at last. */
  async #together(ready: readonly KeyTasks[]): Promise<readonly KeyTasks[]> {
    if (ready.length < 2 || this.#whyNotNow() !== null) return ready
    let left: readonly KeyTasks[] = []
    await this.#guarded(keysOf(ready), async () => {
      const result = await this.#attempt(ready)
      if (result.outcome === 'ended') return this.#note(result.done)
      this.#isTogether = false
      const by = result.outcome === 'unclear' ? result.by : new Set<LeasedKey>()
      left = [...ready.filter(({ key }) => !by.has(key)), ...ready.filter(({ key }) => by.has(key))]
    })
    return left
  }

  /** A key by itself. */
  async #alone(one: KeyTasks): Promise<void> {
    const { key, steps } = one
    let result = await this.#attempt([one])
    if (result.outcome !== 'ended') result = await this.#untilItIsClear({ key, steps: steps.slice(0, 1) }, result)
    if (result.outcome === 'uncharged') return this.#giveBack([key], result.why)
    if (result.outcome === 'unclear') return this.#giveBack([key], { reason: 'reload' })
    this.#note(result.done)
    if (result.failed === null) return
    this.#ran += 1
    await this.#failed({ key, ...steps[0]! }, failureOf(result.failed.error))
  }

  #note(done: ReadonlyMap<LeasedKey, number>): void {
    for (const count of done.values()) {
      this.#ran += count
      this.#done += count
    }
  }

  /**
   * Tries the head alone, where it was not. Conflicts and lost connections are nobody's fault, unless they come again and again while the database answers otherwise: then
   * they are the head's, as in a lane.
   */
  async #untilItIsClear(head: KeyTasks, first: AttemptOutcome): Promise<AttemptOutcome> {
    const { clock } = this.#settings
    const { leaving } = this.#surroundings
    let result = first.outcome === 'unclear' ? await this.#attempt([head]) : first
    for (let tries = 1; result.outcome === 'uncharged'; tries++) {
      const { why } = result
      if (why.reason !== 'conflict' && why.reason !== 'lost') break
      if (tries > (why.reason === 'conflict' ? mostConflicts : mostLosses))
        return { outcome: 'ended', done: new Map(), failed: { error: why.error } }
      await pause(clock, retryDelayMs({ baseDelayMs: 5, maxDelayMs: 500 }, tries, clock.random()), leaving)
      if (leaving.aborted) break
      result = await this.#attempt([head])
    }
    return result
  }

  async #attempt(keys: readonly KeyTasks[]): Promise<AttemptOutcome> {
    const attempt = new RetryAttempt(keys, this.#settings)
    try {
      return await attempt.run(this.#surroundings.signal)
    } finally {
      if (attempt.isTried) for (const { key } of keys) this.#tried.add(key)
    }
  }

  async #failed(head: Head, failure: Failure): Promise<void> {
    if ((await this.#heads.failed(head, failure)) === 'held') await this.#giveBack([head.key], { reason: 'held', failure })
  }

  /** Others must not wait for one key after the other while everything fails, or the consumer is to stop. */
  #whyNotNow(): Uncharged | null {
    if (this.#surroundings.leaving.aborted) return { reason: 'dropped' }
    const cause = this.#settings.breaker?.cause ?? null
    return cause === null ? null : { reason: 'held', failure: cause }
  }

  /** The database may be away, or what a codec needs: the keys are given back then. */
  async #guarded(keys: readonly LeasedKey[], work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      await this.#giveBack(keys, { reason: 'unavailable', failure: failureOf(error) })
    }
  }

  /** Tells why, and gives keys back. */
  async #giveBack(keys: readonly LeasedKey[], why: Uncharged): Promise<void> {
    for (const key of keys) this.#tell(key, why)
    const afterMs = backoffMs(pauseMs, Math.max(...keys.map((key) => key.crashes)) + 1, this.#settings.clock.random())
    for (const how of ['tried', 'untried'] as const) {
      const these = keys.filter((key) => this.#tried.has(key) === (how === 'tried'))
      await giveBack(these, how, afterMs, this.#settings, this.#surroundings)
    }
  }

  #tell({ partition: { group, topic, partition } }: LeasedKey, why: Uncharged): void {
    const { reason } = why
    const errorClass = 'failure' in why ? why.failure.errorClass : undefined
    this.#settings.tally.uncharged += 1
    if (reason === 'unavailable' || reason === 'lost' || reason === 'conflict')
      this.#surroundings.trouble(notTried({ topic, partition }, why.failure))
    channels.consumerRollback.publish({ group, topic, partition, lane: null, reason, errorClass })
  }
}

/** What a plan came to, to be asked for when its turn comes. */
const known = (plan: RetryPlan) => (): RetryPlan => plan
const unknown = (error: unknown) => (): RetryPlan => {
  throw error
}

function keysOf(tasks: readonly KeyTasks[]): readonly LeasedKey[] {
  return tasks.map(({ key }) => key)
}

/** What is to be alone in its transaction is. */
function mayShare({ steps }: KeyTasks): boolean {
  return steps.every(({ handler }) => handler.transaction !== 'message')
}

/** The words of a failure may be the handler's, and quote a payload. */
function notTried({ topic, partition }: Pick<PartitionRef, 'topic' | 'partition'>, { errorClass }: Pick<Failure, 'errorClass'>): Error {
  return new Error(
    `A key that waits in ${topic}-${partition} could not be tried: what it needs was away, the database or a schema, or something else was in its way (${errorClass}). It is tried again.`,
  )
}
