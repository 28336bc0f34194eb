/** How long to wait before the nth try. */
export interface Backoff {
  /** Before the second try, in milliseconds. */
  readonly firstMs: number
  /** Never longer than this. */
  readonly maxMs: number
}

/**
 * Doubles with each failure, up to the limit, then takes a random point in the upper half, so that many who failed together do not come back
 * together. `failures` counts from 1.
 *
 * ```ts
 * backoffMs({ firstMs: 100, maxMs: 5_000 }, 1, 0)   // 50
 * backoffMs({ firstMs: 100, maxMs: 5_000 }, 3, 0.5) // 300
 * ```
 */
export function backoffMs({ firstMs, maxMs }: Backoff, failures: number, random: number): number {
  const full = Math.min(maxMs, firstMs * 2 ** Math.min(failures - 1, 30))
  return Math.round(full / 2 + (full / 2) * random)
}
