import type { Header } from './port.ts'

/** A header's value as the log returned it. Most are never looked at, so they stay bytes until somebody asks. */
export type RawValue = Buffer | string | null | undefined

/** What a record says about its message, found in one pass over its headers. Every field exists from the start, which keeps reading it fast. */
export class Attributes {
  /** Debezium's `id`. */
  routerId: RawValue = undefined
  id: RawValue = undefined
  source: RawValue = undefined
  type: RawValue = undefined
  time: RawValue = undefined
  subject: RawValue = undefined
  schemaVersion: RawValue = undefined
  correlationId: RawValue = undefined
  causationId: RawValue = undefined
  sequence: RawValue = undefined
  aggregateVersion: RawValue = undefined
  traceparent: RawValue = undefined
  /** The trace the event began in, used where the plain header is missing. */
  firstTraceparent: RawValue = undefined
  contentType: RawValue = undefined
  coordinate: RawValue = undefined
  stored: RawValue = undefined
  /** `eventType` or `type`, the usual names when Debezium's router is told to place the type. They stay user headers too. */
  placedType: RawValue = undefined
  /** Some headers are none of the above. */
  hasOthers = false
}

/** Puts one header in its place; the last of a name counts. Tells whether the name is one of ours. */
export function assignAttribute(attributes: Attributes, name: string, value: RawValue): boolean {
  // By length first: names come off the wire as fresh strings, and most candidates then fail without comparing characters.
  switch (name.length) {
    case 2:
      if (name !== 'id') return false
      attributes.routerId = value
      return true
    case 4:
      if (name === 'type') attributes.placedType ??= value
      return false
    case 5:
      if (name !== 'ce_id') return false
      attributes.id = value
      return true
    case 7:
      if (name === 'ce_type') attributes.type = value
      else if (name === 'ce_time') attributes.time = value
      else return false
      return true
    case 9:
      if (name === 'eventType') attributes.placedType = value
      if (name !== 'ce_source') return false
      attributes.source = value
      return true
    case 10:
      if (name !== 'ce_subject') return false
      attributes.subject = value
      return true
    case 11:
      if (name === 'ce_sequence') attributes.sequence = value
      else if (name === 'traceparent') attributes.traceparent = value
      else return false
      return true
    case 12:
      if (name !== 'content-type') return false
      attributes.contentType = value
      return true
    case 14:
      if (name === 'ce_causationid') attributes.causationId = value
      else if (name === 'ce_traceparent') attributes.firstTraceparent = value
      else return name === 'ce_specversion'
      return true
    case 15:
      return name === 'ce_partitionkey'
    case 16:
      if (name === 'ce_correlationid') attributes.correlationId = value
      else if (name === 'ce_schemaversion') attributes.schemaVersion = value
      else if (name === 'tidemark-headers') attributes.stored = value
      else return false
      return true
    case 19:
      if (name === 'ce_aggregateversion') attributes.aggregateVersion = value
      else if (name === 'tidemark-coordinate') attributes.coordinate = value
      else return false
      return true
    default:
      return false
  }
}

/** One pass over a record's headers. */
export function readAttributes(headers: readonly Header[]): Attributes {
  const attributes = new Attributes()
  for (let i = 0; i < headers.length; i++) {
    const header = headers[i]!
    if (!assignAttribute(attributes, header[0], header[1])) attributes.hasOthers = true
  }
  return attributes
}

/** Adds what `from` says and `into` does not. */
export function fillAttributes(into: Attributes, from: Attributes): void {
  for (const name of fillable) into[name] ??= from[name]
}

const fillable = (Object.keys(new Attributes()) as (keyof Attributes)[]).filter((name) => name !== 'hasOthers')

/** Headers that are not ours, as text. A name that occurs twice keeps its last value; no value reads as the empty text. */
export function otherHeaders(headers: readonly Header[], into: Record<string, string>): void {
  const scratch = new Attributes()
  for (const [name, value] of headers) {
    if (!assignAttribute(scratch, name, value)) setHeader(into, name, textOf(value) ?? '')
  }
}

/** Sets a header under any name: assigning to `__proto__` would be lost without a word. */
export function setHeader(headers: Record<string, string>, name: string, value: string): void {
  if (name === '__proto__') Object.defineProperty(headers, name, { value, enumerable: true, configurable: true, writable: true })
  else headers[name] = value
}

/** A header's value as text; bytes that are not UTF-8 come out with replacement characters. Absent and null are `undefined`. */
export function textOf(value: RawValue): string | undefined {
  if (typeof value === 'string') return value
  return value === null || value === undefined ? undefined : value.toString()
}
