import { TidemarkError } from '../errors.ts'
import { Attributes, assignAttribute, setHeader, textOf } from './attributes.ts'
import type { RawValue } from './attributes.ts'
import { parseJson } from './codec.ts'
import { storedTopicHeader } from './wire.ts'

/** What was found inside a record's value or in one of its headers. */
export interface Found {
  readonly attributes: Attributes
  readonly headers: Readonly<Record<string, string>>
}

/** The data, as bytes, or parsed already where it stood in JSON as such. */
export interface FoundData {
  readonly body: Buffer | null
  readonly parsed: { readonly data: unknown } | undefined
}

type JsonObject = Readonly<Record<string, unknown>>

/**
 * A CloudEvent in structured mode, JSON format: attributes beside `data` or `data_base64`. Throws `MESSAGE_UNDECODABLE` for anything else.
 * The data is taken in a second step, so that a message whose data is broken still says what it is.
 * Source: CloudEvents 1.0, JSON event format.
 */
export function readStructuredEvent(value: Buffer | null, contentType: string): Found & { data(): FoundData } {
  const format = contentType.slice(structuredPrefix.length).split(';')[0]!.trim().toLowerCase()
  if (format !== '+json') {
    throw new TidemarkError(
      'MESSAGE_UNDECODABLE',
      `Expected a structured CloudEvent as application/cloudevents+json, got "${contentType}".`,
    )
  }
  const json = value === null ? null : parseJson(value)
  if (!isObject(json))
    throw new TidemarkError('MESSAGE_UNDECODABLE', 'Expected a structured CloudEvent, a JSON object, got something else.')
  const attributes = new Attributes()
  const headers: Record<string, string> = {}
  for (const [name, member] of Object.entries(json)) {
    if (name === 'data' || name === 'data_base64' || name === 'datacontenttype') continue
    if (name === 'id' && typeof member === 'number' && !Number.isSafeInteger(member))
      throw new TidemarkError('MESSAGE_UNDECODABLE', 'Expected the id of a structured CloudEvent as text, got a number that JSON rounds.')
    const text = scalarText(member)
    if (text !== undefined && !assignAttribute(attributes, `ce_${name}`, text)) setHeader(headers, `ce_${name}`, text)
  }
  attributes.contentType = scalarText(json['datacontenttype'])
  return { attributes, headers, data: () => structuredData(json, textOf(attributes.contentType)) }
}

const structuredPrefix = 'application/cloudevents'

/** Does this content type announce a structured CloudEvent (or a batch, which Kafka's binding does not have)? */
export function isStructured(contentType: string | undefined): contentType is string {
  if (contentType === undefined || contentType.length < structuredPrefix.length) return false
  return contentType.startsWith(structuredPrefix) || contentType.slice(0, structuredPrefix.length).toLowerCase() === structuredPrefix
}

function structuredData(json: JsonObject, contentType: string | undefined): FoundData {
  const encoded = json['data_base64']
  if (typeof encoded === 'string') return { body: decodeBase64(encoded), parsed: undefined }
  if (encoded !== undefined && encoded !== null) throw new TidemarkError('MESSAGE_UNDECODABLE', 'Expected data_base64 to be a text.')
  const data = json['data'] ?? null
  // Under a type that is not JSON, a text is the data itself; its codec wants the bytes.
  const isText = typeof data === 'string' && contentType !== undefined && !contentType.toLowerCase().includes('json')
  return isText ? { body: Buffer.from(data), parsed: undefined } : { body: null, parsed: { data } }
}

/** Strict, because Node's own decoder skips what it does not know and so returns other bytes than were sent. */
function decodeBase64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.toString('base64').replace(/=+$/, '') !== text.replace(/=+$/, '')) {
    throw new TidemarkError('MESSAGE_UNDECODABLE', 'Expected data_base64 to be base64.')
  }
  return bytes
}

/**
 * The envelope many hand-made outboxes write into the value: `eventType` beside `payload`, with `eventId`, `occurredAt` and their kin.
 * Debezium's router makes the same form when fields are placed in the envelope. `null` when the value is something else.
 */
export function readJsonEnvelope(
  value: Buffer,
): { readonly id: string | number | undefined; readonly attributes: Attributes; readonly data: unknown } | null {
  if (!startsLikeObject(value)) return null
  let json: unknown
  try {
    json = parseJson(value)
  } catch {
    // Whether this is an error is for whoever decodes the data to say.
    return null
  }
  if (!isObject(json) || !('payload' in json)) return null
  const type = json['eventType'] ?? (json['eventId'] === undefined ? undefined : json['type'])
  if (typeof type !== 'string' || type === '') return null
  const attributes = new Attributes()
  attributes.type = type
  attributes.time = scalarText(json['occurredAt'] ?? json['createdAt'] ?? json['timestamp'])
  attributes.source = scalarText(json['source'])
  attributes.subject = scalarText(json['subject'])
  attributes.correlationId = scalarText(json['correlationId'])
  attributes.causationId = scalarText(json['causationId'])
  attributes.sequence = scalarText(json['sequenceNumber'])
  attributes.aggregateVersion = scalarText(json['aggregateVersion'])
  attributes.schemaVersion = scalarText(json['schemaVersion'])
  const id = json['eventId']
  return { id: typeof id === 'number' || typeof id === 'string' ? id : undefined, attributes, data: json['payload'] }
}

/**
 * The outbox's column `headers`, carried as one header. Its JSON may be quoted once more: a JSON header converter does that.
 * Throws `MESSAGE_UNDECODABLE` when it is not an object of texts.
 */
export function readStoredHeaders(value: RawValue): Found {
  let json = parseJson(Buffer.from(textOf(value) ?? ''))
  if (typeof json === 'string') json = parseJson(Buffer.from(json))
  if (!isObject(json))
    throw new TidemarkError('MESSAGE_UNDECODABLE', 'Expected the header tidemark-headers to be a JSON object, got something else.')
  const attributes = new Attributes()
  const headers: Record<string, string> = {}
  for (const [name, member] of Object.entries(json)) {
    const text = scalarText(member) ?? JSON.stringify(member)
    if (name !== storedTopicHeader && !assignAttribute(attributes, name, text)) setHeader(headers, name, text)
  }
  return { attributes, headers }
}

/** A value that CloudEvents attributes may have, as text; lists and objects are none. */
function scalarText(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Looks at the first byte that is no white space or byte order mark, so that other formats are not parsed in vain. */
function startsLikeObject(value: Buffer): boolean {
  for (let i = value[0] === 0xef && value[1] === 0xbb && value[2] === 0xbf ? 3 : 0; i < value.length; i++) {
    const byte = value[i]!
    if (byte === 0x7b) return true
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return false
  }
  return false
}
