import { createHash } from 'node:crypto'

/** Longer ones are nobody's key. */
const longest = 255

/**
 * Reads the header `Idempotency-Key`: a structured field's string in quotation marks, as the draft has it, or the bare text that most clients send; `"a"` and
 * `a` are one key. `null`: it is neither.
 */
export function requestKey(header: string): string | null {
  const quoted = /^"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"\s*(?:;.*)?$/.exec(header.trim())
  const key = quoted === null ? header.trim() : quoted[1]!.replace(/\\(["\\])/g, '$1')
  if (key === '' || key.length > longest) return null
  // Two headers of this name arrive as one with a comma.
  return quoted !== null || /^[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]+$/.test(key) ? key : null
}

/** Of what is asked for: method, path with its query, and body. */
export function requestFingerprint(request: Request, body: Uint8Array): string {
  const { pathname, search } = new URL(request.url)
  return createHash('sha256')
    .update(JSON.stringify([request.method, pathname + search]))
    .update(body)
    .digest('base64url')
}

/** A caller may be named by what is secret, such as a token. */
export function callerHash(caller: string): string {
  return createHash('sha256').update(caller).digest('base64url')
}
