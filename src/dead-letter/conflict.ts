import { TidemarkError } from '../errors.ts'
import type { Letter } from './letter.ts'
import type { ChangeOptions, LetterChange, RedriveRefusal } from './port.ts'

/** What is wanted of a letter. */
export type LetterWish = LetterChange['kind'] | 'edit'

/** Throws `DEAD_LETTER_CONFLICT` where the letter, as it is found under its lock, is not the one that was seen, or does not allow this. */
export function requireChangeable(
  letter: Pick<Letter, 'id' | 'version' | 'state' | 'policy'>,
  wish: LetterWish,
  { version }: Pick<ChangeOptions, 'version'>,
): void {
  const { id, state } = letter
  if (version !== undefined && version !== letter.version) {
    const message = `The dead letter ${id} was changed by somebody else: version ${version} was seen, it is ${letter.version} now.`
    throw conflict(message, { id, seen: version, version: letter.version }, 'Look at it again.')
  }
  if ((wish === 'discard' || wish === 'edit') && state !== 'dead') {
    throw conflict(`The dead letter ${id} is ${state}, so it cannot be ${wish === 'edit' ? 'edited' : 'discarded'}.`, { id, state })
  }
  if (wish === 'archive' && state === 'dead' && letter.policy === 'block') {
    const message = `The dead letter ${id} blocks its key, so it cannot be archived.`
    throw conflict(message, { id, state }, 'Redrive or discard it.')
  }
}

/** An edited letter that was to be redriven at once, and could not. */
export function redriveConflict(id: number, reason: RedriveRefusal): TidemarkError {
  return conflict(`The dead letter ${id} cannot be redriven: ${refusals[reason]}`, { id, reason })
}

export function unknownLetter(id: number | string): TidemarkError {
  if (typeof id === 'number') return new TidemarkError('DEAD_LETTER_UNKNOWN', `There is no dead letter ${id}.`, { details: { id } })
  return new TidemarkError('DEAD_LETTER_UNKNOWN', `There is no dead letter of a message ${JSON.stringify(id)}.`, {
    details: { id },
    remedy: 'A text names a message; name a letter by its number.',
  })
}

/** What each refusal means, for people. */
export const refusals: Readonly<Record<RedriveRefusal, string>> = {
  unknown: 'there is none of this id.',
  'not-dead': 'it was redriven or discarded meanwhile.',
  changed: 'it was changed since it was looked at.',
  archived: 'it is archived. Restore it first.',
  'no-position': 'its group has no position in the partition, so nobody would handle it.',
  'comes-again': "its group's position was set back to before it, so it comes again from the log.",
}

function conflict(message: string, details: Readonly<Record<string, unknown>>, remedy?: string): TidemarkError {
  return new TidemarkError('DEAD_LETTER_CONFLICT', message, remedy === undefined ? { details } : { details, remedy })
}
