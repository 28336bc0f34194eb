import { TidemarkError } from '../errors.ts'

/** Largest text of a key or header, in UTF-16 units: far above any sensible one, far below what a record may hold. */
const maxLength = 8192

/**
 * A text that Postgres (`text`, `jsonb`) and UTF-8 headers can carry as it is: not empty, no NUL, no half of a surrogate pair.
 * Throws `INPUT_INVALID` naming what it was for, never the text.
 */
export function requireStorable(what: string, text: unknown): string {
  if (typeof text !== 'string') throw refuse(what, `a text, got ${text === null ? 'null' : typeof text}`)
  if (text === '') throw refuse(what, 'a text that is not empty')
  return requireCarriable(what, text)
}

/** As `requireStorable`, but the empty text is fine. */
export function requireCarriable(what: string, text: unknown): string {
  if (typeof text !== 'string') throw refuse(what, `a text, got ${text === null ? 'null' : typeof text}`)
  if (text.length > maxLength) throw refuse(what, `at most ${maxLength} characters, got ${text.length}`)
  if (/[\0\p{Surrogate}]/u.test(text)) throw refuse(what, 'a text without NUL characters and broken surrogate pairs')
  return text
}

/** Makes a text from a foreign message storable: a handler must be able to publish whatever its cause was called. */
export function madeStorable(text: string): string {
  return text
    .slice(0, maxLength)
    .replace(/\0/g, '\u2400')
    .replace(/\p{Surrogate}/gu, '\ufffd')
}

/**
 * Producers write any number for a time, nanoseconds for example: what lies beyond the years 1 to 9999, which neither a `Date` nor a database may take,
 * becomes the nearest one within. Milliseconds since 1970; -1 is Kafka's word for none.
 */
export function withinYears(timestamp: number): number {
  return Math.max(-62_135_596_800_000, Math.min(timestamp, 253_402_300_799_999))
}

function refuse(what: string, expected: string): TidemarkError {
  return new TidemarkError('INPUT_INVALID', `${what}: expected ${expected}.`)
}
