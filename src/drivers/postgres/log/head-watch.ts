import type { Clock } from '../../../internal/clock.ts'
import { type ReadPosition, headNews } from '../queries/log-fetch.ts'
import type { LogStore } from './log-store.ts'

interface Waiter {
  readonly from: readonly ReadPosition[]
  readonly end: (moved: boolean, error?: unknown) => void
}

/** Between two looks: short while something moved lately, since more tends to follow; long enough when idle to cost next to nothing. */
const shortestMs = 1
const longestMs = 25
/** A look costs about a tenth of the time since the last news, until the longest pause is reached after a quarter of a second. */
const patience = 10

/**
 * Waits for records past given offsets, for all members of one broker together: a single cheap look at the heads, repeated, however many wait.
 * What this process appends itself is told at once.
 */
export class HeadWatch {
  readonly #store: LogStore
  readonly #clock: Clock
  readonly #waiters = new Set<Waiter>()
  #cancelTimer: (() => void) | null = null
  #looking = false
  #lastNews = 0
  #closed = false

  constructor(store: LogStore, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  /** Resolves with `true` when a partition goes past its offset or vanishes, `false` when time is over. Rejects when looking fails. */
  wait(from: readonly ReadPosition[], maxWaitMs: number, signal?: AbortSignal): Promise<boolean> {
    if (this.#closed || signal?.aborted === true) return Promise.resolve(false)
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.after(maxWaitMs, () => waiter.end(false))
      const abort = (): void => waiter.end(false)
      const waiter: Waiter = {
        from,
        end: (moved, error) => {
          this.#waiters.delete(waiter)
          cancel()
          signal?.removeEventListener('abort', abort)
          if (error === undefined) resolve(moved)
          else reject(error)
          if (this.#waiters.size === 0) this.#pause()
        },
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#waiters.add(waiter)
      this.#schedule()
    })
  }

  /** These partitions end there now: wakes who waits for them. */
  tell(heads: readonly ReadPosition[]): void {
    if (this.#waiters.size === 0) return
    const ends = new Map(heads.map((head) => [placeOf(head), head.offset]))
    for (const waiter of [...this.#waiters]) {
      if (waiter.from.some((position) => (ends.get(placeOf(position)) ?? 0) > position.offset)) waiter.end(true)
    }
    this.#lastNews = this.#clock.elapsed()
  }

  close(): void {
    this.#closed = true
    for (const waiter of [...this.#waiters]) waiter.end(false)
    this.#pause()
  }

  #schedule(): void {
    if (this.#looking || this.#cancelTimer !== null || this.#waiters.size === 0) return
    const sinceMs = this.#clock.elapsed() - this.#lastNews
    const pauseMs = Math.min(longestMs, Math.max(shortestMs, sinceMs / patience))
    this.#cancelTimer = this.#clock.after(pauseMs, () => {
      this.#cancelTimer = null
      this.#looking = true
      void this.#look().finally(() => {
        this.#looking = false
        this.#schedule()
      })
    })
  }

  async #look(): Promise<void> {
    const waiters = [...this.#waiters]
    const lowest = new Map<string, ReadPosition>()
    for (const position of waiters.flatMap(({ from }) => from)) {
      const known = lowest.get(placeOf(position))
      if (known === undefined || known.offset > position.offset) lowest.set(placeOf(position), position)
    }
    const asked = [...lowest.values()]
    try {
      const news = await this.#store.use((session, schema) => headNews(session, schema, asked))
      if (news.length > 0) this.tell(news.map(({ place, endOffset }) => ({ ...asked[place]!, offset: endOffset ?? Infinity })))
    } catch (error) {
      for (const waiter of waiters) waiter.end(false, error)
    }
  }

  #pause(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = null
  }
}

function placeOf({ key, partition }: ReadPosition): string {
  return `${key}/${partition}`
}
