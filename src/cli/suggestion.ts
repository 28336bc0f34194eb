/** What was probably meant: the candidate that goes on where the typed text ends, or has at most two slips. `null`: none is near. */
export function suggestion(typed: string, candidates: readonly string[]): string | null {
  const begun = typed.length >= 3 ? candidates.filter((candidate) => candidate.startsWith(typed)) : []
  // A short text is near to everything.
  const slips = [0, 1, 2].filter((count) => count < typed.length / 2)
  const near = slips.flatMap((count) => candidates.filter((candidate) => isNear(candidate, typed, count)))
  return begun[0] ?? near[0] ?? null
}

/** Are these the same but for so many slips: a letter more, less or other? */
function isNear(a: string, b: string, slips: number): boolean {
  if (slips < 0) return false
  if (a === '' || b === '') return a.length + b.length <= slips
  if (a[0] === b[0]) return isNear(a.slice(1), b.slice(1), slips)
  return isNear(a.slice(1), b, slips - 1) || isNear(a, b.slice(1), slips - 1) || isNear(a.slice(1), b.slice(1), slips - 1)
}
