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
  /** Transactions at once. */
  readonly transactions: number
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

/** Of one transaction. */
const limits: BatchLimits = { maxMessages: 500, maxBytes: 2 * 1024 * 1024, targetMs: 200 }

/** In one transaction. Whoever ends its process, or keeps it waiting, does so to the others, too. */
const mostKeys = 32
const firstKeys = 4

/** Keys that become free one by one are looked for together, so long after the first of them: to lease many costs little more than to lease one. */
const gatherMs = 10

/**
 * Tries parked keys again when they are due, some in each transaction and a bounded number of these at once, side by side with those of other processes: each key
 * is leased to one of them. The lease is renewed while the key is tried, and says after a crash that there was one.
 */
export class Retrier {
  readonly #settings: RetrierSettings
  readonly #abort = new AbortController()
  readonly #leaving = new AbortController()
  readonly #running = new Map<Promise<void>, readonly LeasedKey[]>()
  #cancelRenewal: (() => void) | null = null
  #leasing: Promise<void> | null = null
  #next: { readonly at: number; readonly cancel: () => void } | null = null
  #again = false
  #isStopping = false
  /** Small at first: handlers of failing messages may be slow, and the lease must last for all of them. */
  readonly #size = new BatchSize(limits, 4)
  /** Keys asked for, for each transaction: so many that they share it, and no more than there seem to be, since each takes its part of the size. */
  #keysEach = firstKeys

  constructor(settings: RetrierSettings) {
    this.#settings = settings
  }

  start(): void {
    if (this.#settings.transactions > 0) this.wake(this.#settings.pollMs)
  }

  /** Looks for keys that are due, after so long at the latest. */
  wake(afterMs = 0): void {
    const { clock, transactions } = this.#settings
    if (this.#isStopping || transactions === 0) return
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
    await within(clock, stopMs, Promise.all([this.#leasing, ...this.#running.keys()]))
    this.#abort.abort()
    await within(clock, stopMs, Promise.all([this.#leasing, ...this.#running.keys()]))
    this.#cancelRenewal?.()
  }

  #look(): void {
    if (this.#leasing !== null) {
      this.#again = true
      return
    }
    const free = this.#free()
    if (free.transactions === 0) return
    this.#leasing = this.#lease(free.transactions, free.keysEach)
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

  /** What may be tried now. While the breaker is open one key: whatever the lanes have to try, it may be of another handler than what opened it. */
  #free(): { readonly transactions: number; readonly keysEach: number } {
    const { batch, clock, transactions, pollMs } = this.#settings
    const permit = batch.breaker?.permit(clock.elapsed(), 'retriers') ?? { allow: 'all' as const }
    if (permit.allow === 'all')
      return { transactions: transactions - this.#running.size, keysEach: Math.min(this.#keysEach, this.#size.messages) }
    this.wake(permit.allow === 'none' ? Math.max(1, permit.untilMs - clock.elapsed()) : pollMs)
    return { transactions: permit.allow === 'probe' && this.#running.size === 0 ? 1 : 0, keysEach: 1 }
  }

  async #lease(transactions: number, keysEach: number): Promise<void> {
    const { group, batch, pollMs, leaseMs, topicIds } = this.#settings
    const ids = topicIds()
    const keys = transactions * keysEach
    const leased =
      ids.length === 0
        ? []
        : await batch.store.parked.lease({
            group,
            topicIds: ids,
            keys,
            leaseMs,
            maxMessages: Math.ceil(this.#size.messages / keysEach),
            maxBytes: Math.ceil(this.#size.bytes / keysEach),
          })
    if (this.#isStopping) return void (await batch.store.parked.giveBack(leased, 'untried', 0))
    const later = leased.filter((key) => !this.#mayRun(key))
    const now = leased.filter((key) => !later.includes(key))
    // First, or what ends this process next would be blamed on these, too.
    if (later.length > 0) await batch.store.parked.giveBack(later, 'untried', pollMs).catch(this.#settings.trouble)
    if (leased.length === 0) this.#keysEach = firstKeys
    else this.#keysEach = leased.length < keys ? Math.ceil(leased.length / transactions) : Math.min(2 * keysEach, mostKeys)
    const suspects = now.filter(isSuspect)
    for (const key of suspects) this.#track([key])
    for (const some of dealt(
      now.filter((key) => !isSuspect(key)),
      Math.max(1, transactions - suspects.length),
    ))
      this.#track(some)
    if (leased.length < keys) this.wake(pollMs)
  }

  /** Of keys whose retrier vanished one at a time, so that it is known who does it again. */
  #mayRun(key: LeasedKey): boolean {
    return !isSuspect(key) || this.#settings.batch.suspects.take()
  }

  #track(keys: readonly LeasedKey[]): void {
    const work = this.#retry(keys).finally(() => {
      this.#running.delete(work)
      if (keys.some(isSuspect)) this.#settings.batch.suspects.giveBack()
      this.wake(2 * this.#running.size <= this.#settings.transactions ? 0 : gatherMs)
    })
    this.#running.set(work, keys)
    this.#renewLater()
  }

  #renewLater(): void {
    const { batch, clock, leaseMs, trouble } = this.#settings
    this.#cancelRenewal ??= clock.after(leaseMs / 3, () => {
      this.#cancelRenewal = null
      if (this.#running.size === 0) return
      batch.store.parked.renew([...this.#running.values()].flat(), leaseMs).catch(trouble)
      this.#renewLater()
    })
  }

  async #retry(keys: readonly LeasedKey[]): Promise<void> {
    const { batch, clock, succeeded, trouble } = this.#settings
    const started = clock.elapsed()
    const { ran, done } = await runRetry(keys, batch, { signal: this.#abort.signal, leaving: this.#leaving.signal, trouble })
    this.#size.took(ran, clock.elapsed() - started)
    if (done > 0) succeeded()
  }
}

/** In so many hands, none of them empty. */
function dealt(keys: readonly LeasedKey[], hands: number): readonly (readonly LeasedKey[])[] {
  const each = Math.ceil(keys.length / hands)
  return Array.from({ length: Math.min(hands, keys.length) }, (_, i) => keys.slice(i * each, (i + 1) * each)).filter(
    ({ length }) => length > 0,
  )
}
