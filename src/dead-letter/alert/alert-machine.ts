import type { GroupLetters } from '../port.ts'

/** When there is something to say. */
export interface AlertSettings {
  /** So many deaths within `windowMs` are a growing trouble; said again at each doubling. As many letters in all are said, too, however slowly they came. @default 10 */
  readonly growth: number
  /** @default 300,000 ms (5 minutes) */
  readonly windowMs: number
  /**
   * Ages of a group's oldest letter at which it is said that nobody has ended it, rising; after the last one again each time as much has passed.
   * @default an hour, a day, a week
   */
  readonly agesMs: readonly number[]
}

export const defaultAlertSettings: AlertSettings = { growth: 10, windowMs: 300_000, agesMs: [3_600_000, 86_400_000, 604_800_000] }

/** What was said of a group that has letters. Survives processes. */
export interface AlertState {
  /** Deaths within the window when growth was last said; 0: it has not been, or it has calmed down. */
  readonly grown: number
  /** How many of the ages were said. */
  readonly ages: number
  /** How many letters there were at the last notice, or fewer where there were fewer since. */
  readonly told: number
  /** Fingerprints of the kinds that were said and still have letters. */
  readonly kinds: readonly string[]
}

export type AlertKind = 'first' | 'kind' | 'growing' | 'more' | 'old' | 'resolved'

/** What a look has come to. */
export interface AlertStep {
  /** What is to be said, in this order, each with what has been said once it is. `null`: nothing is open. */
  readonly say: readonly { readonly kind: AlertKind; readonly state: AlertState | null }[]
  /** When all is said. */
  readonly state: AlertState | null
}

/**
 * Decides what to say of a consumer group, from what was said and how it stands. Says the same thing once: `first` when there are letters after there were
 * none, `kind` when there are letters of another fingerprint than before, `growing` when many die in a short time and at every doubling, `more` when
 * there are twice as many as at the last notice, however long that took, `old` at each age, `resolved` when none is left. Pure.
 */
export function alertStep(before: AlertState | null, letters: GroupLetters | null, now: number, settings: AlertSettings): AlertStep {
  if (letters === null || letters.count === 0) {
    return { say: before === null ? [] : [{ kind: 'resolved', state: null }], state: null }
  }
  const { count, recent, kinds } = letters
  const reached = agesReached(now - letters.oldest.getTime(), settings.agesMs)
  const start = calmed(before, letters, reached, settings)
  const isGrowing = recent >= settings.growth && recent >= 2 * start.grown
  const due: readonly (readonly [kind: AlertKind, isDue: boolean, said: Partial<AlertState>])[] = [
    ['first', before === null, { kinds }],
    ['kind', before !== null && newKinds(before, letters).length > 0, { kinds }],
    ['growing', isGrowing, { grown: recent }],
    ['more', before !== null && !isGrowing && count >= settings.growth && count >= 2 * start.told, {}],
    ['old', reached > start.ages, { ages: reached }],
  ]
  const say: { kind: AlertKind; state: AlertState }[] = []
  let state = start
  for (const [kind, isDue, said] of due) {
    if (!isDue) continue
    state = { ...state, ...said, told: count }
    say.push({ kind, state })
  }
  return { say, state }
}

/** Fingerprints that were not there before. None where the letters are of too many kinds to be told apart. */
export function newKinds(before: AlertState | null, { kinds }: Pick<GroupLetters, 'kinds'>): readonly string[] {
  const known = new Set(before?.kinds)
  return kinds.filter((kind) => !known.has(kind))
}

/** What was said, without what is over: whatever comes again is said again. */
function calmed(before: AlertState | null, { count, recent, kinds }: GroupLetters, reached: number, { growth }: AlertSettings): AlertState {
  const { grown, ages, told, kinds: known } = before ?? { grown: 0, ages: 0, told: count, kinds: [] }
  const open = new Set(kinds)
  return {
    grown: recent < growth / 2 ? 0 : grown,
    // The oldest may have ended: what is said of the next one begins where that stands.
    ages: Math.min(ages, reached),
    told: Math.min(told, count),
    kinds: kinds.length === 0 ? known : known.filter((kind) => open.has(kind)),
  }
}

function agesReached(age: number, ages: readonly number[]): number {
  const last = ages.at(-1)
  const again = last === undefined || last <= 0 ? 0 : Math.max(0, Math.floor(age / last) - 1)
  return ages.filter((one) => age >= one).length + again
}
