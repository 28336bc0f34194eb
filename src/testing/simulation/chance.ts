/** Numbers that look random and are a function of the seed alone. Source: sfc32 of Chris Doty-Humphrey's PractRand. */
export class Chance {
  #a: number
  #b = 0x9e3779b9
  #c = 0x243f6a88
  #counter = 1

  constructor(seed: number) {
    this.#a = seed | 0
    // The first numbers of neighbouring seeds are still alike.
    for (let i = 0; i < 15; i++) this.#next()
  }

  /** From 0 to below 1. */
  readonly number = (): number => this.#next() / 0x100000000

  /** A whole number from `least` to `most`. */
  whole(least: number, most: number): number {
    return least + Math.floor(this.number() * (most - least + 1))
  }

  /** True with this probability. */
  isSo(probability: number): boolean {
    return probability > 0 && this.number() < probability
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.whole(0, choices.length - 1)]!
  }

  #next(): number {
    const result = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + result
    return result >>> 0
  }
}
