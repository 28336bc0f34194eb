import type { LetterState } from './letter.ts'
import type { RedriveLetter, RedriveRefusal } from './port.ts'

/** A letter as it is found under its locks. */
export interface LockedLetter {
  readonly version: number
  readonly state: LetterState
  readonly archived: boolean
  readonly offset: number
}

/** Why this letter must not be redriven; `null`: it may. `nextOffset`: the position of its lane. */
export function redriveRefusal(asked: RedriveLetter, found: LockedLetter | undefined, nextOffset: number): RedriveRefusal | null {
  if (found === undefined) return 'unknown'
  if (found.state !== 'dead') return 'not-dead'
  if (asked.version !== undefined && asked.version !== found.version) return 'changed'
  if (found.archived) return 'archived'
  return found.offset < nextOffset ? null : 'comes-again'
}
