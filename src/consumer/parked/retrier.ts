import type { Clock } from '../../internal/clock.ts'
import { within } from '../../internal/clock.ts'
import type { BatchSettings } from '../batch/batch-settings.ts'
import { type BatchLimits, BatchSize } from '../partition/batch-size.ts'
import type { LeasedKey } from '../parked-port.ts'
import { giveBack } from './give-back.ts'
import { type RetrySurroundings, runRetry } from './run-retry.ts'
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
  /** Suspects are looked for again then. Where there are none, that reads all keys that are due. */
  #suspectsFrom = 0
  readonly #surroundings: RetrySurroundings

  constructor(settings: RetrierSettings) {
    this.#settings = settings
    const { trouble } = settings
    this.#surroundings = { signal: this.#abort.signal, leaving: this.#leaving.signal, trouble }
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

  /** Transactions that may begin now. While the breaker is open one, of one key: whatever the lanes have to try, it may be of another handler than what opened it. */
  #free(): number {
    const { batch, clock, transactions, pollMs } = this.#settings
    const permit = batch.breaker?.permit(clock.elapsed(), 'retriers') ?? { allow: 'all' as const }
    if (permit.allow === 'all') return transactions - this.#running.size
    this.#keysEach = 1
    this.wake(permit.allow === 'none' ? Math.max(1, permit.untilMs - clock.elapsed()) : pollMs)
    return permit.allow === 'probe' && this.#running.size === 0 ? 1 : 0
  }

  async #lease(free: number): Promise<void> {
    const { group, batch, clock, transactions, pollMs, leaseMs, topicIds } = this.#settings
    // Of keys whose retrier vanished one at a time, and by itself, so that it is known who does it again.
    const suspects = !batch.suspects.isTaken && clock.elapsed() >= this.#suspectsFrom ? 1 : 0
    const hands = free - suspects
    const keysEach = Math.min(this.#keysEach, this.#size.messages)
    const keys = hands * keysEach
    const ids = topicIds()
    const limits = { maxMessages: Math.ceil(this.#size.messages / keysEach), maxBytes: Math.ceil(this.#size.bytes / keysEach) }
    const beyond = { keys: hands, bytes: transactions * this.#size.bytes }
    const leased =
      ids.length === 0 ? [] : await batch.store.parked.lease({ group, topicIds: ids, keys, beyond, suspects, leaseMs, ...limits })
    if (this.#isStopping) return giveBack(leased, 'untried', 0, batch, this.#surroundings)
    const [suspect] = leased.filter(({ crashes }) => crashes > 0)
    const fresh = leased.filter((key) => key !== suspect)
    if (suspects > 0 && suspect === undefined) this.#suspectsFrom = clock.elapsed() + pollMs
    if (suspect !== undefined) {
      if (!isSuspect(suspect) || batch.suspects.take()) this.#track([suspect])
      // A lane was faster. Before anything else runs, or what ends this process next would be blamed on this one, too.
      else await giveBack([suspect], 'untried', 0, batch, this.#surroundings)
    }
    if (hands > 0) this.#adapt(fresh.length, hands, keysEach)
    for (const some of dealt(fresh, hands)) this.#track(some)
    if (hands === 0) this.#again = true
    else if (fresh.length < keys) this.wake(pollMs)
  }

  /** As many keys next time as there were, or more where there may be more. */
  #adapt(leased: number, hands: number, keysEach: number): void {
    if (leased === 0) this.#keysEach = firstKeys
    else this.#keysEach = leased < hands * keysEach ? Math.ceil(leased / hands) : Math.min(2 * keysEach, mostKeys)
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
    const { batch, clock, succeeded } = this.#settings
    const started = clock.elapsed()
    const { ran, done, together } = await runRetry(keys, batch, this.#surroundings)
    this.#size.took(ran, clock.elapsed() - started)
    // What failed has cost the others a run.
    if (!together) this.#keysEach = 1
    if (done > 0) succeeded()
  }
}

/** In so many hands, none of them empty. */
function dealt(keys: readonly LeasedKey[], hands: number): readonly (readonly LeasedKey[])[] {
  if (keys.length === 0) return []
  const each = Math.ceil(keys.length / hands)
  return Array.from({ length: Math.min(hands, keys.length) }, (_, i) => keys.slice(i * each, (i + 1) * each)).filter(
    ({ length }) => length > 0,
  )
}
