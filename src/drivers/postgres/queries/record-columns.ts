import type { Header } from '../../../message/port.ts'

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

/** A text that Postgres takes, whatever a foreign program wrote. */
export function storableText(text: string): string {
  return text.replaceAll('\0', '\u2400').replace(/\p{Surrogate}/gu, '\ufffd')
}
