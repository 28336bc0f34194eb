/**
 * What became of an update that carries a version:
 *
 * - `applied`: it is the next version (or, with `accept: 'newer'`, any newer one), and the row has it now.
 * - `duplicate`: the row has this very version.
 * - `stale`: the row has a newer version.
 * - `missing`: an earlier version has not been applied yet. `stored` tells which: `null`, there is no row; a number, there is a gap behind it.
 */
export type VersionOutcome = 'applied' | 'duplicate' | 'stale' | 'missing'

export interface VersionResult {
  readonly outcome: VersionOutcome
  /** The row's version before this update; `null`: there was no row. */
  readonly stored: bigint | null
}

/** Which versions are taken. `next`: the one after the row's, so that no event is left out. `newer`: any above it, for events that carry the whole state. */
export type AcceptedVersions = 'next' | 'newer'

export interface VersionRules {
  readonly accept: AcceptedVersions
  /** Make the row where there is none; with `next`, by this version alone. `null`: do not. */
  readonly insertAt: bigint | null
}

/** How one version stands to a row. Pure: what the statement of the database does, in words. */
export function versionOutcome(version: bigint, stored: bigint | null, { accept, insertAt }: VersionRules): VersionOutcome {
  if (stored === null) return insertAt !== null && (accept === 'newer' || version === insertAt) ? 'applied' : 'missing'
  if (version === stored) return 'duplicate'
  if (version < stored) return 'stale'
  return accept === 'newer' || version === stored + 1n ? 'applied' : 'missing'
}

/** How several versions of one row stand, taken from the smallest up. Results are in the order given; of two equal ones the first counts. */
export function versionOutcomes(versions: readonly bigint[], stored: bigint | null, rules: VersionRules): readonly VersionResult[] {
  const results: VersionResult[] = []
  const order = versions
    .map((version, place) => ({ version, place }))
    .sort((a, b) => (a.version < b.version ? -1 : a.version > b.version ? 1 : a.place - b.place))
  let current = stored
  for (const { version, place } of order) {
    const outcome = versionOutcome(version, current, rules)
    results[place] = { outcome, stored: current }
    if (outcome === 'applied') current = version
  }
  return results
}
