import type { FailedAttempt } from '../../../consumer/port.ts'
import type { Header } from '../../../message/port.ts'
import { coordinateHeader } from '../../../message/wire.ts'

/** How a record's headers stand in a column: `[[name, text | null | {"base64": bytes}], …]`, order and repeats kept. */
export function headersToJson(headers: readonly Header[]): string {
  return JSON.stringify(headers.map(([name, value]) => [name, headerValue(value)]))
}

function headerValue(value: Header[1]): string | null | { readonly base64: string } {
  if (value === null || typeof value === 'string') return value
  const text = value.toString()
  // Bytes that are not UTF-8 come back changed, and then only base64 keeps them.
  return Buffer.from(text).equals(value) ? text : { base64: value.toString('base64') }
}

/** The headers of a column, as they stood in the log. */
export function headersFromJson(json: string): Header[] {
  return (JSON.parse(json) as [string, string | null | { readonly base64: string }][]).map(([name, value]) => [
    name,
    value === null || typeof value === 'string' ? value : Buffer.from(value.base64, 'base64'),
  ])
}

/** How failures stand in a column. */
export function attemptsToJson(attempts: readonly FailedAttempt[]): string {
  return JSON.stringify(attempts.map(({ at, error }) => ({ at: new Date(at).toISOString(), error: storableText(error) })))
}

export function attemptsFromJson(json: string): FailedAttempt[] {
  return (JSON.parse(json) as { readonly at: string; readonly error: string }[]).map(({ at, error }) => ({ at: Date.parse(at), error }))
}

/** A text that Postgres takes, whatever a foreign program wrote. */
export function storableText(text: string): string {
  return text.replaceAll('\0', '\u2400').replace(/\p{Surrogate}/gu, '\ufffd')
}

/** As `headersToJson` begins a coordinate's header: within a text no quote stands alone. Postgres's own functions refuse a header with a NUL in its text. */
export const coordinateMark = `["${coordinateHeader}",`

/** Of a letter `d`; the parameter is `coordinateMark`. */
export function noCoordinate(parameter: string): string {
  return `position(${parameter} in d.headers::text) = 0`
}
