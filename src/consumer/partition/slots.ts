/** Batches without a conflict after which one more transaction may run beside the others again. */
const calmBatches = 50

/**
 * How many transactions of a consumer run at once. Where they deadlock they go one after the other for a while: Postgres finds a deadlock only
 * after a second of standstill, so a few of them cost more than running alone.
 */
export class Slots {
  readonly #most: number
  #limit: number
  #used = 0
  #calm = 0

  constructor(most: number) {
    this.#most = most
    this.#limit = most
  }

  /** Takes a slot, if one is free. */
  take(): boolean {
    if (this.#used >= this.#limit) return false
    this.#used += 1
    return true
  }

  /** `idle`: it was not used after all. */
  giveBack(outcome: 'calm' | 'conflict' | 'idle'): void {
    this.#used -= 1
    if (outcome === 'conflict') {
      this.#limit = 1
      this.#calm = 0
    } else if (outcome === 'calm' && this.#limit < this.#most && ++this.#calm >= calmBatches) {
      this.#limit += 1
      this.#calm = 0
    }
  }

  get used(): number {
    return this.#used
  }
}
