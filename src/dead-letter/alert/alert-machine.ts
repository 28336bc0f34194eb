import type { GroupLetters } from '../port.ts'

/** When there is something to say. */
export interface AlertSettings {
  /** So many deaths within `windowMs` are a growing trouble; said again at each doubling. @default 10 */
  readonly growth: number
  /** @default 300,000 ms (5 minutes) */
  readonly windowMs: number
  /** Ages of a group's oldest letter at which it is said that nobody has ended it, rising. @default an hour, a day, a week */
  readonly agesMs: readonly number[]
}

export const defaultAlertSettings: AlertSettings = { growth: 10, windowMs: 300_000, agesMs: [3_600_000, 86_400_000, 604_800_000] }

/** What was said of a group that has letters. Survives processes. */
export interface AlertState {
  /** Deaths within the window when growth was last said; 0: it has not been, or it has calmed down. */
  readonly grown: number
  /** How many of the ages were said. */
  readonly ages: number
}

export type AlertKind = 'first' | 'growing' | 'old' | 'resolved'

/** What a look has come to: what is to be said, and the state once that is said. `null`: nothing is open. */
export interface AlertStep {
  readonly say: readonly AlertKind[]
  readonly state: AlertState | null
}

/**
 * Decides what to say of a consumer group, from what was said and how it stands. Says the same thing once: `first` when there are letters after there were
 * none, `growing` when many die in a short time and at every doubling, `old` at each age, `resolved` when none is left. Pure.
 */
export function alertStep(before: AlertState | null, letters: GroupLetters | null, now: number, settings: AlertSettings): AlertStep {
  if (letters === null || letters.count === 0) return { say: before === null ? [] : ['resolved'], state: null }
  const { grown, ages } = before ?? { grown: 0, ages: 0 }
  const reached = settings.agesMs.filter((age) => now - letters.oldest.getTime() >= age).length
  const isGrowing = letters.recent >= settings.growth && letters.recent >= 2 * grown
  const isCalm = letters.recent < settings.growth / 2
  const say: AlertKind[] = [
    ...(before === null ? (['first'] as const) : []),
    ...(isGrowing ? (['growing'] as const) : []),
    ...(reached > ages ? (['old'] as const) : []),
  ]
  // The oldest may have ended: what is said of the next one begins where that stands.
  return { say, state: { grown: isGrowing ? letters.recent : isCalm ? 0 : grown, ages: reached } }
}
