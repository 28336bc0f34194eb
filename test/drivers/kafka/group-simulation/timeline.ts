interface Happening {
  readonly at: number
  readonly number: number
  run: (() => void) | null
}

/** Virtual time, and what will happen in it. What happens at the same moment happens in the order in which it was arranged. */
export class Timeline {
  now = 0
  readonly #happenings: Happening[] = []
  #count = 0

  /** Returns what takes it back. */
  after(ms: number, run: () => void): () => void {
    const one: Happening = { at: this.now + ms, number: (this.#count += 1), run }
    let place = this.#happenings.length
    while (place > 0 && this.#happenings[place - 1]!.at > one.at) place -= 1
    this.#happenings.splice(place, 0, one)
    return () => void (one.run = null)
  }

  runUntil(end: number): void {
    for (let next = this.#happenings[0]; next !== undefined && next.at <= end; next = this.#happenings[0]) {
      this.#happenings.shift()
      this.now = next.at
      next.run?.()
    }
    this.now = end
  }
}
