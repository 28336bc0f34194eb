import { TidemarkError } from '../errors.ts'
import { currentMessage } from './ambient.ts'
import type { EventDefinition } from './event.ts'
import { whenReady } from './eventual.ts'
import type { Eventual } from './eventual.ts'
import type { Message } from './message.ts'
import type { OutboxMessage } from './outbox-message.ts'
import type { InferInput, StandardSchemaV1 } from './standard-schema.ts'
import { madeStorable, requireCarriable, requireStorable } from './storable.ts'
import { topicOf } from './topic.ts'
import { activeTraceparent, isTraceparent } from './trace-context.ts'
import { validate } from './validate.ts'
import { isReservedHeader, storedTopicHeader } from './wire.ts'

/** What a publish may say beside the data. */
export interface MessageOptions {
  /** When it happened. @default now */
  readonly time?: Date
  /** Partition key. @default the definition's `key(data)` */
  readonly key?: string
  /** Own headers. Names of CloudEvents (`ce_…`), `tidemark-…`, `id`, `content-type` and `traceparent` are taken. @default {} */
  readonly headers?: Readonly<Record<string, string>>
  /** What within the source the event is about. */
  readonly subject?: string
  /** Place among the messages of its key, a whole number from 0 on. */
  readonly sequenceNumber?: number
  /** Version of the aggregate after this event, a whole number from 0 on. */
  readonly aggregateVersion?: number
  /** @default that of the message being handled, else this message's own id */
  readonly correlationId?: string
  /** @default id of the message being handled, if any */
  readonly causationId?: string
  /** W3C trace context. @default the active OpenTelemetry span, else that of the message being handled */
  readonly traceparent?: string
}

/** Who publishes, and where it takes time and ids from. */
export interface Producer {
  /** `source` of its messages; together with the id it is unique. */
  readonly source: string
  now(): Date
  uuid(): string
}

/**
 * Makes the message to be stored: validates the data, encodes the input as it was given, and adds what the message being handled hands down.
 * Synchronous unless schema or codec are not. Throws `EVENT_INVALID` for data (it lists the paths, never the data) and `INPUT_INVALID` for
 * options; nothing was written then.
 */
export function createMessage<Type extends string, Schema extends StandardSchemaV1>(
  definition: EventDefinition<Type, Schema>,
  data: InferInput<Schema>,
  options: MessageOptions | undefined,
  producer: Producer,
): Eventual<OutboxMessage> {
  // Taken before anything is awaited, so that time and cause are those of the call.
  const id = producer.uuid()
  const headers = storedHeaders(definition, id, options ?? {}, producer)
  const subject = { what: `The data of the event "${definition.type}"`, details: { type: definition.type } }
  return whenReady(validate(definition.schema, data, subject), () => {
    const aggregateId = partitionKey(definition, data, options)
    return whenReady(encode(definition, data), (payload) => ({
      id,
      aggregateType: definition.aggregate,
      aggregateId,
      type: definition.type,
      payload,
      headers,
    }))
  })
}

function partitionKey<Type extends string, Schema extends StandardSchemaV1>(
  definition: EventDefinition<Type, Schema>,
  data: InferInput<Schema>,
  options: MessageOptions | undefined,
): string {
  return requireStorable(`The key of the event "${definition.type}"`, options?.key ?? definition.key(data))
}

function encode(definition: EventDefinition, data: unknown): Eventual<Buffer> {
  const refuse = (cause: unknown): never => {
    throw new TidemarkError('EVENT_INVALID', `The data of the event "${definition.type}" has no form in ${definition.codec.contentType}.`, {
      cause,
      details: { type: definition.type },
    })
  }
  try {
    const payload = definition.codec.encode(data)
    return payload instanceof Promise ? payload.catch(refuse) : payload
  } catch (cause) {
    return refuse(cause)
  }
}

function storedHeaders(
  definition: EventDefinition,
  id: string,
  options: MessageOptions,
  producer: Producer,
): Readonly<Record<string, string>> {
  const cause = currentMessage()
  const headers: Record<string, string> = {
    ce_source: producer.source,
    ce_time: isoTime(options.time ?? producer.now()),
    ce_correlationid: text('correlationId', options.correlationId) ?? inherited(cause?.correlationId) ?? id,
    ce_schemaversion: String(definition.version),
  }
  addIfGiven(headers, 'ce_causationid', text('causationId', options.causationId) ?? inherited(cause?.id))
  addIfGiven(headers, 'ce_subject', text('subject', options.subject))
  // Padded, because CloudEvents wants sequences to sort as text; 16 digits hold every safe integer.
  addIfGiven(headers, 'ce_sequence', wholeNumber('sequenceNumber', options.sequenceNumber)?.padStart(16, '0'))
  addIfGiven(headers, 'ce_aggregateversion', wholeNumber('aggregateVersion', options.aggregateVersion))
  addIfGiven(headers, 'traceparent', traceparent(options, cause))
  if (definition.codec.contentType !== 'application/json') headers['content-type'] = definition.codec.contentType
  if (definition.topic !== topicOf(definition.aggregate)) headers[storedTopicHeader] = definition.topic
  if (options.headers !== undefined) addUserHeaders(headers, options.headers)
  return headers
}

function addUserHeaders(headers: Record<string, string>, own: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(own)) {
    requireStorable('The name of a header', name)
    // A plain object cannot hold that name by assignment, and no one needs it.
    if (isReservedHeader(name) || name === '__proto__') {
      throw new TidemarkError('INPUT_INVALID', `The header name "${name}" is taken.`, { remedy: 'Choose another name.' })
    }
    headers[name] = requireCarriable(`The header "${name}"`, value)
  }
}

function traceparent(options: MessageOptions, cause: Message | undefined): string | undefined {
  if (options.traceparent === undefined) return activeTraceparent() ?? cause?.traceparent
  if (!isTraceparent(options.traceparent))
    throw new TidemarkError('INPUT_INVALID', 'traceparent: expected the form of W3C Trace Context, version 00.')
  return options.traceparent
}

function addIfGiven(headers: Record<string, string>, name: string, value: string | undefined): void {
  if (value !== undefined) headers[name] = value
}

function text(name: string, value: string | undefined): string | undefined {
  return value === undefined ? undefined : requireStorable(name, value)
}

function inherited(value: string | undefined): string | undefined {
  return value === undefined || value === '' ? undefined : madeStorable(value)
}

function wholeNumber(name: string, value: number | undefined): string | undefined {
  if (value === undefined) return undefined
  if (!Number.isSafeInteger(value) || value < 0)
    throw new TidemarkError('INPUT_INVALID', `${name}: expected a whole number from 0 on, got ${String(value)}.`)
  return String(value)
}

function isoTime(time: Date): string {
  if (!(time instanceof Date) || Number.isNaN(time.getTime())) throw new TidemarkError('INPUT_INVALID', 'time: expected a valid Date.')
  const iso = time.toISOString()
  // Years beyond four digits have a form of their own that RFC 3339, and so CloudEvents, does not know.
  if (iso.length !== 24) throw new TidemarkError('INPUT_INVALID', 'time: expected a year from 0 to 9999.')
  return iso
}
