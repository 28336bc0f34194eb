import type { Clock } from '../internal/clock.ts'

/** A pause that ends early when something happens. A wake-up between two pauses is not lost: it ends the next one at once. */
export class Rest {
  readonly #clock: Clock
  #woken = false
  #ended = false
  #wake: (() => void) | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Resolves after `ms`, or at the next `wake`; tells which. */
  for(ms: number): Promise<boolean> {
    return this.#pause(ms, () => this.#woken || this.#ended)
  }

  /** As `for`, but only `end` cuts it short. */
  async forAll(ms: number): Promise<void> {
    await this.#pause(ms, () => this.#ended)
  }

  wake(): void {
    this.#woken = true
    this.#wake?.()
  }

  /** Ends this pause and every later one. */
  end(): void {
    this.#ended = true
    this.#wake?.()
  }

  #pause(ms: number, isOver: () => boolean): Promise<boolean> {
    return new Promise((resolve) => {
      const finish = (): void => {
        cancel()
        this.#wake = null
        const woken = this.#woken
        this.#woken = false
        resolve(woken)
      }
      const cancel = this.#clock.after(ms, finish)
      this.#wake = () => {
        if (isOver()) finish()
      }
      this.#wake()
    })
  }
}
