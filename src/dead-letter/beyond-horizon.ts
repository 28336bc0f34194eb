import { TidemarkError } from '../errors.ts'
import { originalOf } from '../consumer/batch/original-record.ts'
import { type InboxStore, isWithinHorizon } from '../inbox/index.ts'
import type { LogRecord } from '../message/port.ts'
import { type EnvelopeOptions, readEnvelope } from '../message/read-envelope.ts'
import type { Letter, LetterDetail } from './letter.ts'
import type { DeadLetterStore } from './port.ts'

/** What must be known to tell which letters nobody can vouch for. */
export interface RedriveHorizon extends EnvelopeOptions {
  readonly inbox: () => Promise<InboxStore>
}

/**
 * Of these letters, those that came before everything the inbox remembers, and have an id and no coordinate: a copy of them may have been handled, and nobody knows.
 * One statement for all of them; a payload is read only of a letter whose headers do not say what it is. Without the consumer's `idempotencyId` an id that came by
 * it is known from the letter.
 */
export async function beyondHorizon(
  store: DeadLetterStore,
  letters: readonly Pick<Letter, 'id'>[],
  { inbox, ...envelope }: RedriveHorizon,
): Promise<ReadonlySet<number>> {
  const beyond = new Set<number>()
  const rememberedSince = letters.length === 0 ? null : await (await inbox()).rememberedSince()
  if (rememberedSince === null) return beyond
  const ids = letters.map(({ id }) => id)
  for (const { id, record } of await store.loggedBefore(ids, rememberedSince)) {
    if (saysWhatItIs(record, envelope)) beyond.add(id)
    else {
      const letter = await store.get(id)
      if (letter !== null && !isVouchedFor(letter, rememberedSince, envelope)) beyond.add(id)
    }
  }
  return beyond
}

function isVouchedFor({ record, messageId }: LetterDetail, rememberedSince: number, envelope: EnvelopeOptions): boolean {
  if (!isWithinHorizon(record, { ...envelope, rememberedSince })) return false
  if (record.timestamp >= rememberedSince || readEnvelope(record).coordinate !== null) return true
  // No id is seen in it here. The consumer knew one all the same if what it noted is not the record's place.
  return messageId === null || messageId === readEnvelope(originalOf(record).record, envelope).id
}

/** It has an id, by its headers alone, which its value would not change. */
function saysWhatItIs(record: LogRecord, options: EnvelopeOptions): boolean {
  if (typeof options.idempotencyId === 'function') return false
  const { type, identityOrigin, undecodable, coordinate } = readEnvelope(record, options)
  return coordinate === null && type !== null && identityOrigin !== 'position' && undecodable === undefined
}

/** `HORIZON_EXCEEDED`, for a letter that was to be given back by itself. */
export function horizonExceeded(id: number): TidemarkError {
  return new TidemarkError('HORIZON_EXCEEDED', `The dead letter ${id} was not given back: ${beyondHorizonReason}`, { details: { id } })
}

/** Said of a letter that was left alone. */
export const beyondHorizonReason =
  'it came before the oldest id that is remembered, so a copy of it may have taken effect; look, and force it if that is not so.'
