/** The ring of tables that handled ids are written to, as its row says. Times are milliseconds since 1970. */
export interface InboxRing {
  /** The table that is written, and since when. */
  readonly current: number
  readonly since: number
  /** Whether it has ever turned. */
  readonly hasTurned: boolean
  /** When each table was begun to be written last; `null`: not known, or never. */
  readonly began: readonly (number | null)[]
}

/**
 * Since when every handled id is remembered; `null`: since ever.
 *
 * The table after the current one is the oldest, and the next to be emptied: what was written before it was begun is gone. Right after a turn that is three turns ago, and
 * it grows to four until the next; a turn lasts a third of `dedupMs`, or longer. A table whose beginning is not known, since an earlier release turned the ring,
 * counts for nothing, and neither do those before it.
 */
export function rememberedSince({ current, since, hasTurned, began }: InboxRing): number | null {
  if (!hasTurned) return null
  let oldest = since
  if (began[current] !== since) return oldest
  for (let back = 1; back < began.length; back++) {
    const begun = began[(current - back + began.length) % began.length]
    if (begun === null || begun === undefined || begun > oldest) break
    oldest = begun
  }
  return oldest
}
