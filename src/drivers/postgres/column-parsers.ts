import pg from 'pg'

/** Makes a value of a column's text. */
export type Parse = (text: string) => unknown

/** The parser for columns of a type, by the number Postgres gives it. */
export type ParserOf = (typeId: number) => Parse

/**
 * For Tidemark's own statements. Applications tell `pg` how they want times, large numbers and JSON, and that is for their statements:
 * these types are read here by their own parsers, all others by those of `pg`.
 */
export const ownParser: ParserOf = (typeId) => own.get(typeId) ?? parserOfPg(typeId)

export const parserOfPg: ParserOf = (typeId) => pg.types.getTypeParser(typeId, 'text') as Parse

const own: ReadonlyMap<number, Parse> = new Map([
  [pg.types.builtins.INT8, (text: string) => text],
  [pg.types.builtins.TIMESTAMPTZ, timestamp],
  [pg.types.builtins.JSON, json],
  [pg.types.builtins.JSONB, json],
])

/** ISO 8601 but for a blank in the middle and offsets of whole hours without minutes. */
export function timestamp(text: string): Date {
  const ms = utcMs(text)
  return new Date(Number.isNaN(ms) ? text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00') : ms)
}

/**
 * Milliseconds since 1970 of `2026-01-31 23:59:59.123456+00`, which is how nearly every time comes; `NaN` for any other form. A relay reads one with
 * every row, and this takes a quarter of the time that `Date` needs for a text.
 */
function utcMs(text: string): number {
  const zone = text.length - 3
  if (!text.endsWith('+00') || zone < 19 || text[4] !== '-' || text[10] !== ' ') return Number.NaN
  const fraction =
    zone === 19 ? 0 : text[19] === '.' ? digits(text, 20, Math.min(zone, 23)) * [100, 10, 1][Math.min(zone - 21, 2)]! : Number.NaN
  const year = digits(text, 0, 4)
  // Two digits would mean the twentieth century.
  if (year < 100) return Number.NaN
  const time = Date.UTC(year, digits(text, 5, 7) - 1, digits(text, 8, 10), digits(text, 11, 13), digits(text, 14, 16), digits(text, 17, 19))
  return time + fraction
}

function digits(text: string, from: number, to: number): number {
  let value = 0
  for (let i = from; i < to; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return Number.NaN
    value = value * 10 + digit
  }
  return value
}

function json(text: string): unknown {
  return JSON.parse(text)
}
