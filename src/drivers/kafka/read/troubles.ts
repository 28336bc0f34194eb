import type { TidemarkError } from '../../../errors.ts'

interface Trouble {
  readonly error: TidemarkError
  readonly toldMs: number
}

/** Another partition may bring records all the while; one that cannot be read is told of after so long, and again each time it has passed. */
const tellAfterMs = 10_000

/** Why partitions cannot be read at the moment, by key. */
export class Troubles {
  readonly #troubles = new Map<string, Trouble>()

  note(key: string, error: TidemarkError, nowMs: number): void {
    const { toldMs = nowMs } = this.#troubles.get(key) ?? {}
    this.#troubles.set(key, { error, toldMs })
  }

  /** It was read. */
  end(key: string): void {
    this.#troubles.delete(key)
  }

  has(key: string): boolean {
    return this.#troubles.has(key)
  }

  /** The trouble of any of them. */
  find(keys: readonly string[]): TidemarkError | null {
    for (const key of keys) {
      const trouble = this.#troubles.get(key)
      if (trouble !== undefined) return trouble.error
    }
    return null
  }

  /**
   * What must be told even if others bring records: what no later try mends, at once, and what has lasted. All that has lasted counts as told then, so that the
   * caller's next tries are tries, and not one telling after the other.
   */
  due(keys: readonly string[], nowMs: number): TidemarkError | null {
    let due: TidemarkError | null = null
    for (const key of keys) {
      const trouble = this.#troubles.get(key)
      if (trouble === undefined) continue
      if (!trouble.error.retryable) return trouble.error
      if (nowMs - trouble.toldMs < tellAfterMs) continue
      this.#troubles.set(key, { ...trouble, toldMs: nowMs })
      due ??= trouble.error
    }
    return due
  }
}
