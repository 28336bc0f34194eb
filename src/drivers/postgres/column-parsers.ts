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
function timestamp(text: string): Date {
  return new Date(text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00'))
}

function json(text: string): unknown {
  return JSON.parse(text)
}
