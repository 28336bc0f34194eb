/** What a consumer has done since it started. */
export interface ConsumerCounts {
  /** Messages whose handler's effects committed. */
  readonly handled: number
  /** Those among them that had waited with their key. */
  readonly retried: number
  /** Repeats that ran no handler: below the position, at or below a stream's high water, or found in the inbox. */
  readonly duplicates: { readonly position: number; readonly highWater: number; readonly inbox: number }
  /** Messages of types that no handler wants, by type; those without a type under the empty text. */
  readonly skippedTypes: Readonly<Record<string, number>>
  /** Messages queued behind a parked key. */
  readonly queued: number
  readonly deadLetters: number
  /** Messages parked with their key after a failure. */
  readonly parked: number
  /** Messages sent to a retry topic after a failure. */
  readonly passedOn: number
  /** Failed runs that were charged to a message. */
  readonly retries: number
  /** Failed runs that were repeated at once, charged to nobody. */
  readonly immediateRetries: number
  readonly batches: number
  /** Runs side by side that were given up and done again one by one. */
  readonly abandonedRuns: number
  /** Batches, and tries of parked keys, rolled back by nobody's fault: deadlocks, lost connections, moved positions, an open breaker. */
  readonly uncharged: number
}

/** Skipped types are remembered by name up to so many; a topic may carry names without end. */
const mostTypes = 1_000

export class Tally {
  handled = 0
  duplicatesHighWater = 0
  duplicatesInbox = 0
  queued = 0
  deadLetters = 0
  retries = 0
  immediateRetries = 0
  parked = 0
  passedOn = 0
  batches = 0
  abandonedRuns = 0
  uncharged = 0
  retried = 0
  readonly #skipped = new Map<string, number>()

  skipped(types: ReadonlyMap<string, number>): void {
    for (const [type, count] of types) {
      const name = this.#skipped.has(type) || this.#skipped.size < mostTypes ? type : '(others)'
      this.#skipped.set(name, (this.#skipped.get(name) ?? 0) + count)
    }
  }

  counts(belowPosition: number): ConsumerCounts {
    const { handled, retried, queued, parked, passedOn, deadLetters, retries, immediateRetries, batches, abandonedRuns, uncharged } = this
    const duplicates = { position: belowPosition, highWater: this.duplicatesHighWater, inbox: this.duplicatesInbox }
    return {
      handled,
      retried,
      duplicates,
      skippedTypes: Object.fromEntries(this.#skipped),
      queued,
      parked,
      passedOn,
      deadLetters,
      retries,
      immediateRetries,
      batches,
      abandonedRuns,
      uncharged,
    }
  }
}
