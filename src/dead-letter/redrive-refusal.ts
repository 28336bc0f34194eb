import { TidemarkError } from '../errors.ts'
import type { LetterState } from './letter.ts'
import type { RedriveLetter, RedriveOutcome, RedriveRefusal } from './port.ts'

/** A letter as it is found under its locks. */
export interface LockedLetter {
  readonly version: number
  readonly state: LetterState
  readonly archived: boolean
  readonly offset: number
}

/**
 * What a redrive does with each letter that was asked for; one that was asked for twice goes once. `nextOffset`: the position of its
 * lane. `changes`: how
 * often each that goes is changed by it.
 */
export function redriveOutcomes(
  letters: readonly RedriveLetter[],
  find: (id: number) => LockedLetter | undefined,
  { nextOffset, changes }: { readonly nextOffset: (id: number) => number; readonly changes: number },
): readonly RedriveOutcome[] {
  const going = new Set<number>()
  return letters.map((asked): RedriveOutcome => {
    const { id } = asked
    const found = find(id)
    const refusal = going.has(id) ? 'not-dead' : redriveRefusal(asked, found, () => nextOffset(id))
    if (refusal !== null) return { id, outcome: 'refused', reason: refusal }
    going.add(id)
    return { id, outcome: 'redriven', version: found!.version + changes }
  })
}

/** Why this letter must not be redriven; `null`: it may. */
function redriveRefusal(asked: RedriveLetter, found: LockedLetter | undefined, nextOffset: () => number): RedriveRefusal | null {
  if (found === undefined) return 'unknown'
  if (found.state !== 'dead') return 'not-dead'
  if (asked.version !== undefined && asked.version !== found.version) return 'changed'
  if (found.archived) return 'archived'
  return found.offset < nextOffset() ? null : 'comes-again'
}

/** What a redrive of letters that are not of one partition is answered. */
export function severalPartitions(): TidemarkError {
  return new TidemarkError('INPUT_INVALID', 'Letters of different groups or partitions cannot be redriven in one call.', {
    remedy: 'Call redrive once for each partition.',
  })
}
