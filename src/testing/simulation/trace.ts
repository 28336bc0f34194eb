import { createHash } from 'node:crypto'

/** What happened, line by line. Two runs did the same if their hashes are equal. */
export class Trace {
  readonly #lines: string[] = []
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  note(who: string, what: string): void {
    this.#lines.push(`${this.#now().toFixed(3)} ${who} ${what}`)
  }

  get lines(): readonly string[] {
    return this.#lines
  }

  get hash(): string {
    return createHash('sha256').update(this.#lines.join('\n')).digest('hex').slice(0, 16)
  }
}
