/** Reading may take this share of the time. */
const share = 0.01
/** What takes no longer is read each time. */
const littleMs = 20

/**
 * Reads again when that has not been done for a hundred times as long as it took: something that grows with what waits is told as it was a moment ago, then, and what
 * is small as it is.
 */
export class ReadSeldom<T> {
  readonly #now: () => number
  readonly #known = new Map<string, { readonly value: T; readonly until: number }>()

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  async read(name: string, work: () => Promise<T>): Promise<T> {
    const known = this.#known.get(name)
    const from = this.#now()
    if (known !== undefined && from < known.until) return known.value
    const value = await work()
    const to = this.#now()
    if (to - from > littleMs) this.#known.set(name, { value, until: to + (to - from) / share })
    else this.#known.delete(name)
    return value
  }
}
