import type { Clock } from '../../internal/clock.ts'

interface Running<T> {
  readonly what: T
  readonly ms: number
  readonly until: number
}

/**
 * Says when something takes longer than it may, each by its own limit from its own start. One timer for all of them, set for the one whose limit ends first:
 * what ends in time costs no more than an entry. After the first one that is late nothing more is said.
 */
export class TimeLimits<T> {
  readonly #clock: Clock
  readonly #late: (what: T, ms: number) => void
  readonly #running = new Map<number, Running<T>>()
  #timer: { readonly at: number; readonly cancel: () => void } | null = null
  #isOver = false

  constructor(clock: Clock, late: (what: T, ms: number) => void) {
    this.#clock = clock
    this.#late = late
  }

  start(place: number, what: T, ms: number): void {
    const until = this.#clock.elapsed() + ms
    this.#running.set(place, { what, ms, until })
    this.#lookAt(until)
  }

  end(place: number): void {
    this.#running.delete(place)
  }

  stop(): void {
    this.#isOver = true
    this.#timer?.cancel()
  }

  #lookAt(at: number): void {
    if (this.#isOver || (this.#timer !== null && this.#timer.at <= at)) return
    this.#timer?.cancel()
    const cancel = this.#clock.after(Math.max(0, at - this.#clock.elapsed()), () => {
      this.#timer = null
      this.#look()
    })
    this.#timer = { at, cancel }
  }

  #look(): void {
    if (this.#isOver) return
    const now = this.#clock.elapsed()
    let next = Number.POSITIVE_INFINITY
    for (const { what, ms, until } of this.#running.values()) {
      if (until <= now) {
        this.stop()
        return this.#late(what, ms)
      }
      next = Math.min(next, until)
    }
    if (next < Number.POSITIVE_INFINITY) this.#lookAt(next)
  }
}
