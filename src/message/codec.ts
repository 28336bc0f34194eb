import { isUtf8 } from 'node:buffer'
import { TidemarkError } from '../errors.ts'
import { readSchemaRegistryFrame } from './schema-registry.ts'

/** How the data of an event becomes bytes and data again. Give one to `event()` for anything but JSON. */
export interface Codec {
  /** Media type of what `encode` makes, as the record's `content-type` says it. */
  readonly contentType: string
  /** Data of the schema's input to bytes. May throw; the publish is then refused. */
  encode(data: unknown): Buffer | Promise<Buffer>
  /**
   * Bytes to data of the schema's input. `contentType` is what the record says, `null` where it says nothing.
   * May throw; the message is then undecodable, and kept with its bytes. A `TidemarkError` that is retryable (`SCHEMA_UNAVAILABLE`) says that
   * what the codec needs is away: the consumer waits, and tries again, charged to nobody.
   */
  decode(bytes: Buffer, contentType: string | null): unknown
}

const jsonContentType = 'application/json'

/** JSON in UTF-8. A record without a content type is taken for JSON; any other type than JSON is refused. */
export const jsonCodec: Codec = Object.freeze({ contentType: jsonContentType, encode: encodeJson, decode: decodeJson })

/** Is this media type JSON, `application/json` or any `+json`, whatever its parameters? No type counts as JSON. */
export function isJsonContentType(contentType: string | null): boolean {
  if (contentType === null || contentType === jsonContentType) return true
  const end = contentType.indexOf(';')
  const media = (end === -1 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
  return media === jsonContentType || media === 'text/json' || media.endsWith('+json')
}

/** The text of UTF-8 bytes, without a byte order mark; throws `MESSAGE_UNDECODABLE` when they are not UTF-8. */
export function decodeUtf8(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw new TidemarkError('MESSAGE_UNDECODABLE', `Expected UTF-8 text, got ${bytes.length} bytes that are not.`)
  const marked = bytes.length >= 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf
  return bytes.toString('utf8', marked ? 3 : 0)
}

function encodeJson(data: unknown): Buffer {
  const text = JSON.stringify(data) as string | undefined
  if (text === undefined) throw new TypeError(`JSON has no form for ${typeof data}`)
  return Buffer.from(text)
}

function decodeJson(bytes: Buffer, contentType: string | null): unknown {
  refuseFrame(bytes)
  if (!isJsonContentType(contentType)) {
    throw new TidemarkError('MESSAGE_UNDECODABLE', `Expected JSON, got content type "${contentType}".`, {
      remedy: 'Give the event a codec that reads it.',
    })
  }
  return parseJson(bytes)
}

/** Parses JSON without ever quoting it: the parser's own message would repeat a part of the data. */
export function parseJson(bytes: Buffer): unknown {
  refuseFrame(bytes)
  const text = decodeUtf8(bytes)
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw new TidemarkError('MESSAGE_UNDECODABLE', `Expected JSON, got ${bytes.length} bytes of text that are not.`)
  }
}

/** Never mistaken: no JSON begins with a zero byte. */
function refuseFrame(bytes: Buffer): void {
  const frame = readSchemaRegistryFrame(bytes)
  if (frame === null) return
  throw new TidemarkError('MESSAGE_UNDECODABLE', `Expected JSON, got bytes framed for a schema registry (schema id ${frame.schemaId}).`, {
    details: { schemaId: frame.schemaId },
    remedy: 'Give the event the codec schemaRegistryFraming(…).',
  })
}
