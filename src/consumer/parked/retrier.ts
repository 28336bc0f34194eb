import type { Clock } from '../../internal/clock.ts'
import { within } from '../../internal/clock.ts'
import type { BatchSettings } from '../batch/batch-settings.ts'
import { type BatchLimits, BatchSize } from '../partition/batch-size.ts'
import type { LeasedKey } from '../parked-port.ts'
import { runRetry } from './run-retry.ts'
import { isSuspect } from './suspicion.ts'

export interface RetrierSettings {
  readonly group: string
  readonly batch: BatchSettings
  readonly clock: Clock
  /** Keys at once. */
  readonly keys: number
  readonly pollMs: number
  /** Who is silent for so long has lost its keys. */
  readonly leaseMs: number
  readonly stopMs: number
  /** Ids of the topics that are read. */
  topicIds(): readonly string[]
  trouble(error: unknown): void
  /** Something was handled. */
  succeeded(): void
}

/** Of one key, in one transaction. */
const limits: BatchLimits = { maxMessages: 500, maxBytes: 2 * 1024 * 1024, targetMs: 200 }

/** Keys that become free one by one are looked for together, so long after the first of them: to lease many costs little more than to lease one. */
const gatherMs = 10

/**
 * Tries parked keys again when they are due, a bounded number at once, side by side with those of other processes: each key is leased to one of them. The lease is
 * renewed while the key is tried, and says after a crash that there was one.
 */
export class Retrier {
  readonly #settings: RetrierSettings
  readonly #abort = new AbortController()
  readonly #leaving = new AbortController()
  readonly #running = new Map<LeasedKey, Promise<void>>()
  #cancelRenewal: (() => void) | null = null
  #leasing: Promise<void> | null = null
  #next: { readonly at: number; readonly cancel: () => void } | null = null
  #again = false
  #isStopping = false
  /** Small at first: handlers of failing messages may be slow, and the lease must last for all of them. */
  readonly #size = new BatchSize(limits, 4)

  constructor(settings: RetrierSettings) {
    this.#settings = settings
  }

  start(): void {
    if (this.#settings.keys > 0) this.wake(this.#settings.pollMs)
  }

  /** Looks for keys that are due, after so long at the latest. */
  wake(afterMs = 0): void {
    const { clock, keys } = this.#settings
    if (this.#isStopping || keys === 0) return
    const at = clock.elapsed() + afterMs
    if (this.#next !== null && this.#next.at <= at) return
    this.#next?.cancel()
    const cancel = clock.after(afterMs, () => {
      this.#next = null
      this.#look()
    })
    this.#next = { at, cancel }
  }

  /** Waits for what is under way, for so long. */
  async stop(): Promise<void> {
    this.#isStopping = true
    this.#leaving.abort()
    this.#next?.cancel()
    this.#next = null
    const { clock, stopMs } = this.#settings
    await within(clock, stopMs, Promise.all([this.#leasing, ...this.#running.values()]))
    this.#abort.abort()
    await within(clock, stopMs, Promise.all([this.#leasing, ...this.#running.values()]))
    this.#cancelRenewal?.()
  }

  #look(): void {
    if (this.#leasing !== null) {
      this.#again = true
      return
    }
    const free = this.#free()
    if (free === 0) return
    this.#leasing = this.#lease(free)
      .catch((error: unknown) => {
        this.#settings.trouble(error)
        this.wake(this.#settings.pollMs)
      })
      .then(() => {
        this.#leasing = null
        if (this.#again) this.wake()
        this.#again = false
      })
  }

  /** How many keys may be tried now. While the breaker is open one: whatever the lanes have to try, it may be of another handler than what opened it. */
  #free(): number {
    const { batch, clock, keys, pollMs } = this.#settings
    const free = keys - this.#running.size
    const permit = batch.breaker?.permit(clock.elapsed(), 'retriers') ?? { allow: 'all' as const }
    if (permit.allow === 'all') return free
    this.wake(permit.allow === 'none' ? Math.max(1, permit.untilMs - clock.elapsed()) : pollMs)
    return permit.allow === 'probe' && this.#running.size === 0 ? 1 : 0
  }

  async #lease(keys: number): Promise<void> {
    const { group, batch, pollMs, leaseMs, topicIds } = this.#settings
    const ids = topicIds()
    const leased =
      ids.length === 0
        ? []
        : await batch.store.parked.lease({
            group,
            topicIds: ids,
            keys,
            leaseMs,
            maxMessages: this.#size.messages,
            maxBytes: this.#size.bytes,
          })
    if (this.#isStopping) return void (await batch.store.parked.giveBack(leased, 'untried', 0))
    const later = leased.filter((key) => !this.#mayRun(key))
    const now = leased.filter((key) => !later.includes(key))
    // First, or what ends this process next would be blamed on these, too.
    if (later.length > 0) await batch.store.parked.giveBack(later, 'untried', pollMs).catch(this.#settings.trouble)
    for (const key of now) this.#track(key)
    if (leased.length < keys) this.wake(pollMs)
  }

  /** Of keys whose retrier vanished one at a time, so that it is known who does it again. */
  #mayRun(key: LeasedKey): boolean {
    return !isSuspect(key) || this.#settings.batch.suspects.take()
  }

  #track(key: LeasedKey): void {
    const work = this.#retry(key).finally(() => {
      this.#running.delete(key)
      if (isSuspect(key)) this.#settings.batch.suspects.giveBack()
      this.wake(2 * this.#running.size <= this.#settings.keys ? 0 : gatherMs)
    })
    this.#running.set(key, work)
    this.#renewLater()
  }

  #renewLater(): void {
    const { batch, clock, leaseMs, trouble } = this.#settings
    this.#cancelRenewal ??= clock.after(leaseMs / 3, () => {
      this.#cancelRenewal = null
      if (this.#running.size === 0) return
      batch.store.parked.renew([...this.#running.keys()], leaseMs).catch(trouble)
      this.#renewLater()
    })
  }

  async #retry(key: LeasedKey): Promise<void> {
    const { batch, clock, succeeded, trouble } = this.#settings
    const started = clock.elapsed()
    const result = await runRetry(key, batch, { signal: this.#abort.signal, leaving: this.#leaving.signal, trouble })
    if (result.outcome !== 'done') return
    this.#size.took(result.done, clock.elapsed() - started)
    succeeded()
  }
}
