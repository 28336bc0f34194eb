import { TidemarkError } from '../errors.ts'
import { type InboxState, type InboxStore, isWithinHorizon } from '../inbox/index.ts'
import type { EnvelopeOptions } from '../message/read-envelope.ts'
import type { Letter } from './letter.ts'
import type { DeadLetterStore } from './port.ts'

/** What must be known to tell which letters nobody can vouch for. */
export interface RedriveHorizon extends EnvelopeOptions {
  readonly inbox: () => Promise<InboxStore>
}

/**
 * Of these letters, those that came before everything the inbox remembers, and have an id and no coordinate: a copy of them may have been handled, and nobody knows.
 * Reads payloads only where there is such a letter at all.
 */
export async function beyondHorizon(
  store: DeadLetterStore,
  letters: readonly Letter[],
  { inbox, ...envelope }: RedriveHorizon,
): Promise<ReadonlySet<number>> {
  const groups = [...new Set(letters.map(({ group }) => group))]
  const state: InboxState | null = groups.length === 0 ? null : await (await inbox()).state(groups)
  const beyond = new Set<number>()
  if (state === null || state.oldestForgottenLetter === null) return beyond
  for (const { id } of letters) {
    const record = (await store.get(id))?.record
    if (record !== undefined && !isWithinHorizon(record, { ...envelope, rememberedSince: state.rememberedSince })) beyond.add(id)
  }
  return beyond
}

/** `HORIZON_EXCEEDED`, for a letter that was to be given back by itself. */
export function horizonExceeded(id: number): TidemarkError {
  return new TidemarkError('HORIZON_EXCEEDED', `The dead letter ${id} was not given back: ${beyondHorizonReason}`, { details: { id } })
}

/** Said of a letter that was left alone. */
export const beyondHorizonReason =
  'it came before the oldest id that is remembered, so a copy of it may have taken effect; look, and force it if that is not so.'
