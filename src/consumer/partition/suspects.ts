/**
 * One message at a time of those that may have made a process end, in a process: were there two, both would be blamed when one of them does it again, and
 * what is innocent would be given up with the other.
 */
export class Suspects {
  #isTaken = false
  readonly #freed: () => void

  /** `freed`: another one may run. */
  constructor(freed: () => void) {
    this.#freed = freed
  }

  get isTaken(): boolean {
    return this.#isTaken
  }

  take(): boolean {
    if (this.#isTaken) return false
    this.#isTaken = true
    return true
  }

  giveBack(): void {
    this.#isTaken = false
    this.#freed()
  }
}

/** The suspect of a lane that its owner has noted, and could not take back: it is not noted again. What is run again has ended nobody. */
export class SuspectMark {
  #noted: { readonly offset: number; readonly marks: number } | null = null

  /** How often it has been noted, by owners before this one, too; `null`: not by this one. */
  of(offset: number): number | null {
    return this.#noted?.offset === offset ? this.#noted.marks : null
  }

  note(offset: number, marks: number): void {
    this.#noted = { offset, marks }
  }

  takenBack(): void {
    this.#noted = null
  }
}
