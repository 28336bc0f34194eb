import { isUtf8 } from 'node:buffer'
import { TidemarkError } from '../errors.ts'
import { fillAttributes, otherHeaders, readAttributes, setHeader, textOf } from './attributes.ts'
import type { Attributes, RawValue } from './attributes.ts'
import { parseCoordinate } from './coordinate.ts'
import type { Coordinate } from './coordinate.ts'
import type { Envelope, IdentityOrigin } from './envelope.ts'
import { isStructured, readJsonEnvelope, readStoredHeaders, readStructuredEvent } from './foreign-body.ts'
import type { LogRecord } from './port.ts'
import { isTraceparent } from './trace-context.ts'

export interface EnvelopeOptions {
  /**
   * Where the identity of a foreign message stands that has no CloudEvents id and no header `id`: the name of a header, or a function of
   * the record. A function that throws makes the message undecodable.
   */
  readonly idempotencyId?: string | ((record: LogRecord) => string | null)
}

/**
 * Reads the envelope of a record, in whichever form it came: CloudEvents in binary or structured mode, the headers of Debezium's outbox
 * router (and the outbox's column `headers` as `tidemark-headers`), a JSON body with `eventType` and `payload`, or none.
 * Never throws for what stands in the record. Cheap for our own messages: headers are looked at once, and turned to text when asked for.
 */
export function readEnvelope(record: LogRecord, options: EnvelopeOptions = noOptions): Envelope {
  return new RecordEnvelope(record, options)
}

const noOptions: EnvelopeOptions = Object.freeze({})

class RecordEnvelope implements Envelope {
  readonly id: string
  readonly source: string
  readonly identity: string
  readonly identityOrigin: IdentityOrigin
  readonly type: string | null
  readonly schemaVersion: number
  readonly body: Buffer | null
  readonly parsed: { readonly data: unknown } | undefined
  readonly undecodable: TidemarkError | undefined
  private readonly record: LogRecord
  private readonly attributes: Attributes
  private readonly moreHeaders: Readonly<Record<string, string>>

  constructor(record: LogRecord, options: EnvelopeOptions) {
    const reading = read(record)
    const { attributes } = reading
    this.record = record
    this.attributes = attributes
    this.moreHeaders = reading.moreHeaders
    this.body = reading.body
    this.parsed = reading.parsed
    this.type = storable(given(attributes.type) ?? given(attributes.placedType)) ?? null
    this.source = identifying(attributes.source) ?? record.topic

    const identified = identify(record, reading, options)
    this.id = identified.id
    this.identityOrigin = identified.origin
    // Source first: URI references have no blanks, so the first blank divides the two.
    this.identity = `${this.source} ${identified.id}`

    const version = readVersion(attributes.schemaVersion)
    this.schemaVersion = version ?? 1
    this.undecodable = reading.undecodable ?? (version === undefined ? unreadableVersion(attributes.schemaVersion) : undefined)
  }

  get coordinate(): Coordinate | null {
    const text = textOf(this.attributes.coordinate)
    return text === undefined ? null : parseCoordinate(text)
  }

  get key(): string | null {
    return this.record.key === null ? null : this.record.key.toString()
  }

  get subject(): string | undefined {
    return given(this.attributes.subject)
  }

  get time(): Date {
    const time = new Date(textOf(this.attributes.time) ?? Number.NaN)
    return Number.isNaN(time.getTime()) ? new Date(this.record.timestamp) : time
  }

  get correlationId(): string {
    return given(this.attributes.correlationId) ?? this.id
  }

  get causationId(): string | undefined {
    return given(this.attributes.causationId)
  }

  get traceparent(): string | undefined {
    const text = textOf(this.attributes.traceparent) ?? textOf(this.attributes.firstTraceparent)
    return text !== undefined && isTraceparent(text) ? text : undefined
  }

  get headers(): Readonly<Record<string, string>> {
    if (!this.attributes.hasOthers) return this.moreHeaders
    const headers: Record<string, string> = {}
    for (const [name, value] of Object.entries(this.moreHeaders)) setHeader(headers, name, value)
    otherHeaders(this.record.headers, headers)
    return headers
  }

  get sequenceNumber(): number | undefined {
    return wholeNumber(this.attributes.sequence)
  }

  get aggregateVersion(): number | undefined {
    return wholeNumber(this.attributes.aggregateVersion)
  }

  get contentType(): string | null {
    return given(this.attributes.contentType) ?? null
  }

  get topic(): string {
    return this.record.topic
  }

  get partition(): number {
    return this.record.partition
  }

  get offset(): number {
    return this.record.offset
  }
}

/** What was read, headers and value together. */
interface Reading {
  attributes: Attributes
  body: Buffer | null
  parsed: { readonly data: unknown } | undefined
  /** From elsewhere than the record's headers. */
  moreHeaders: Readonly<Record<string, string>>
  bodyId: RawValue | number
  undecodable: TidemarkError | undefined
}

function read(record: LogRecord): Reading {
  const attributes = readAttributes(record.headers)
  const reading: Reading = {
    attributes,
    body: record.value,
    parsed: undefined,
    moreHeaders: noHeaders,
    bodyId: undefined,
    undecodable: undefined,
  }
  const contentType = textOf(attributes.contentType)
  try {
    if (isStructured(contentType)) readStructured(record, contentType, reading)
    else if (!isComplete(attributes)) readPartial(record, reading)
  } catch (error) {
    reading.undecodable = TidemarkError.is(error)
      ? error
      : new TidemarkError('MESSAGE_UNDECODABLE', 'The record could not be read.', { cause: error })
  }
  return reading
}

const noHeaders: Readonly<Record<string, string>> = Object.freeze({})

/** A CloudEvent in binary mode with nothing to add: what our own relay sends. */
function isComplete(attributes: Attributes): boolean {
  return attributes.type !== undefined && attributes.source !== undefined && attributes.stored === undefined
}

/** The value is the event; headers beside it are copies, and fill gaps at best. */
function readStructured(record: LogRecord, contentType: string, reading: Reading): void {
  const event = readStructuredEvent(record.value, contentType)
  const ofEvent = event.attributes.contentType
  fillAttributes(event.attributes, reading.attributes)
  // The record's own type says only that this is a CloudEvent.
  event.attributes.contentType = ofEvent
  event.attributes.hasOthers = reading.attributes.hasOthers
  reading.attributes = event.attributes
  reading.moreHeaders = event.headers
  Object.assign(reading, event.data())
}

/** Headers of Debezium's router, an envelope inside the value, or nothing at all. */
function readPartial(record: LogRecord, reading: Reading): void {
  const { attributes } = reading
  if (attributes.stored !== undefined && attributes.stored !== null) {
    const stored = readStoredHeaders(attributes.stored)
    fillAttributes(attributes, stored.attributes)
    reading.moreHeaders = stored.headers
  }
  if (given(attributes.type) !== undefined || given(attributes.placedType) !== undefined || record.value === null) return
  const envelope = readJsonEnvelope(record.value)
  if (envelope === null) return
  reading.bodyId = envelope.id
  fillAttributes(attributes, envelope.attributes)
  reading.body = null
  reading.parsed = { data: envelope.data }
}

/** The first of: CloudEvents id, header `id`, the option, an id in the body, the position. */
function identify(record: LogRecord, reading: Reading, options: EnvelopeOptions): { id: string; origin: IdentityOrigin } {
  const id = identifying(reading.attributes.id)
  if (id !== undefined) return { id, origin: 'cloudevents' }
  const routed = unquoted(identifying(reading.attributes.routerId))
  if (routed !== undefined) return { id: routed, origin: 'router' }
  const optional = options.idempotencyId === undefined ? undefined : identityByOption(record, options.idempotencyId, reading)
  if (optional !== undefined) return { id: optional, origin: 'option' }
  const { bodyId } = reading
  const embedded = typeof bodyId === 'number' ? exactNumber(bodyId, reading) : identifying(bodyId)
  if (embedded !== undefined) return { id: embedded, origin: 'body' }
  return { id: `${record.topic}-${record.partition}-${record.offset}`, origin: 'position' }
}

function identityByOption(record: LogRecord, option: NonNullable<EnvelopeOptions['idempotencyId']>, reading: Reading): string | undefined {
  if (typeof option === 'string') return identifying(record.headers.findLast(([name]) => name === option)?.[1])
  try {
    // Whatever its type promises: what it returns often comes out of somebody's JSON.
    const id: unknown = option(record)
    if (id === undefined || id === null) return undefined
    if (typeof id === 'string') return identifying(id)
    if (typeof id === 'number') return exactNumber(id, reading)
    reading.undecodable ??= new TidemarkError('MESSAGE_UNDECODABLE', `Expected a text of the function idempotencyId, got a ${typeof id}.`)
  } catch (cause) {
    reading.undecodable ??= new TidemarkError('MESSAGE_UNDECODABLE', 'The function idempotencyId threw for this record.', { cause })
  }
  return undefined
}

/** Other numbers were rounded when the JSON was parsed: two different ids may be one then, and the second message would be lost. */
function exactNumber(id: number, reading: Reading): string | undefined {
  if (Number.isSafeInteger(id)) return String(id)
  reading.undecodable ??= new TidemarkError(
    'MESSAGE_UNDECODABLE',
    `Expected an id as text or as a whole number below 2^53, got a number like ${id}.`,
    {
      remedy: 'Have it sent as text, or give the option idempotencyId a function that takes it from the bytes.',
    },
  )
  return undefined
}

/** An id or source that is there and not empty. Bytes that are no UTF-8 stand in it as `hex:…`: as text, different ones would become one. */
function identifying(value: RawValue): string | undefined {
  const text = given(value)
  if (text?.includes('\ufffd') === true && Buffer.isBuffer(value) && !isUtf8(value)) return `hex:${value.toString('hex')}`
  return storable(text)
}

/** A value that is there and not empty. */
function given(value: RawValue): string | undefined {
  const text = textOf(value)
  return text === '' ? undefined : text
}

/** Postgres holds no NUL in a text; an id with one must not stop the partition. */
function storable(text: string | undefined): string | undefined {
  return text?.includes('\0') === true ? text.replaceAll('\0', '\u2400') : text
}

/** Debezium's id as a JSON header converter writes it. */
function unquoted(text: string | undefined): string | undefined {
  return text !== undefined && text.length > 2 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text
}

/** 1 where nothing is said; `undefined` where what is said is no version. */
function readVersion(value: RawValue): number | undefined {
  const text = given(value)
  if (text === undefined || text === '1') return 1
  const version = wholeNumber(text)
  return version === 0 ? undefined : version
}

function unreadableVersion(value: RawValue): TidemarkError {
  const shown = (textOf(value) ?? '').slice(0, 40)
  return new TidemarkError('MESSAGE_UNDECODABLE', `Expected a schema version, a whole number from 1 on, got "${shown}".`)
}

/** `undefined` for anything that is not a whole number a double holds exactly. */
function wholeNumber(value: RawValue): number | undefined {
  const text = textOf(value)
  if (text === undefined || !/^\d{1,16}$/.test(text)) return undefined
  const number = Number(text)
  return Number.isSafeInteger(number) ? number : undefined
}
