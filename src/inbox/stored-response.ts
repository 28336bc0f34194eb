import { TidemarkError } from '../errors.ts'
import type { StoredResponse } from './port.ts'

/** Brings what a call returned into the form that is kept. Throws `INPUT_INVALID` for what is no JSON, or has more than `maxBytes`. */
export function storeResponse(value: unknown, maxBytes: number): StoredResponse {
  const stored = encoded(value)
  if (stored.body.length <= maxBytes) return stored
  throw new TidemarkError('INPUT_INVALID', `A call's response has ${stored.body.length} bytes; ${maxBytes} are kept at most.`, {
    details: { bytes: stored.body.length, maxBytes },
    remedy: 'Return only what later steps need, or raise maxResponseBytes.',
  })
}

/** What a repeat gets: of JSON an equal value, of bytes the same ones. */
export function readResponse({ format, body }: StoredResponse): unknown {
  if (format === 'none') return undefined
  return format === 'json' ? (JSON.parse(body.toString()) as unknown) : new Uint8Array(body)
}

function encoded(value: unknown): StoredResponse {
  if (value === undefined) return { format: 'none', body: Buffer.alloc(0) }
  if (value instanceof Uint8Array) return { format: 'bytes', body: Buffer.from(value) }
  return { format: 'json', body: Buffer.from(json(value)) }
}

function json(value: unknown): string {
  try {
    const text = JSON.stringify(value) as string | undefined
    if (text !== undefined) return text
  } catch {
    // What it says may quote the value.
  }
  throw new TidemarkError('INPUT_INVALID', 'A call returned what is neither JSON nor bytes, so that it cannot be kept.', {
    remedy: 'Return plain data, a Uint8Array or nothing.',
  })
}
