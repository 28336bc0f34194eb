import { TidemarkError } from '../errors.ts'
import type { Envelope } from './envelope.ts'
import type { EventDefinition } from './event.ts'
import { whenReady } from './eventual.ts'
import type { Eventual } from './eventual.ts'
import type { Message } from './message.ts'
import type { InferOutput, StandardSchemaV1 } from './standard-schema.ts'
import { upcast } from './upcast.ts'
import { validate } from './validate.ts'

/**
 * Makes the message of a handled event: decodes the bytes, brings old data to the present version, validates it. Synchronous unless codec or
 * schema are not. Throws `MESSAGE_UNDECODABLE` (bytes, upcaster), `EVENT_UNKNOWN_VERSION` (newer than the definition) or `EVENT_INVALID`
 * (schema); each names the record's place, none its data.
 */
export function decodeMessage<Type extends string, Schema extends StandardSchemaV1>(
  envelope: Envelope,
  definition: EventDefinition<Type, Schema>,
): Eventual<Message<InferOutput<Schema>>> {
  if (envelope.undecodable !== undefined) throw envelope.undecodable
  if (envelope.schemaVersion > definition.version) throw unknownVersion(envelope, definition)
  return whenReady(decodeData(envelope, definition), (stored) => {
    const data = upcast(definition, envelope.schemaVersion, stored)
    const subject = { what: `The data of the message ${placeOf(envelope)}`, details: { type: definition.type, ...place(envelope) } }
    return whenReady(validate(definition.schema, data, subject), (valid) => toMessage(envelope, definition.type, valid))
  })
}

function decodeData(envelope: Envelope, definition: EventDefinition): Eventual<unknown> {
  if (envelope.parsed !== undefined) return envelope.parsed.data
  const { body } = envelope
  if (body === null) return null
  const refuse = (cause: unknown): never => {
    if (TidemarkError.is(cause)) throw cause
    throw new TidemarkError(
      'MESSAGE_UNDECODABLE',
      `The codec of the event "${definition.type}" could not decode the message ${placeOf(envelope)}.`,
      {
        cause,
        details: place(envelope),
      },
    )
  }
  try {
    const data = definition.codec.decode(body, envelope.contentType)
    return data instanceof Promise ? data.catch(refuse) : data
  } catch (cause) {
    return refuse(cause)
  }
}

function toMessage<Data>(envelope: Envelope, type: string, data: Data): Message<Data> {
  const { subject, causationId, traceparent, sequenceNumber, aggregateVersion, coordinate } = envelope
  return {
    id: envelope.id,
    type: envelope.type ?? type,
    source: envelope.source,
    time: envelope.time,
    key: envelope.key,
    data,
    schemaVersion: envelope.schemaVersion,
    correlationId: envelope.correlationId,
    headers: envelope.headers,
    topic: envelope.topic,
    partition: envelope.partition,
    offset: envelope.offset,
    ...(subject === undefined ? none : { subject }),
    ...(causationId === undefined ? none : { causationId }),
    ...(traceparent === undefined ? none : { traceparent }),
    ...(sequenceNumber === undefined ? none : { sequenceNumber }),
    ...(aggregateVersion === undefined ? none : { aggregateVersion }),
    ...(coordinate === null ? none : { coordinate }),
  }
}

const none = Object.freeze({})

function unknownVersion(envelope: Envelope, definition: EventDefinition): TidemarkError {
  const message = `Expected the event "${definition.type}" up to version ${definition.version}, got version ${envelope.schemaVersion} in the message ${placeOf(envelope)}.`
  return new TidemarkError('EVENT_UNKNOWN_VERSION', message, { details: place(envelope), remedy: 'Deploy a process that knows it.' })
}

function place(envelope: Envelope): { readonly topic: string; readonly partition: number; readonly offset: number } {
  return { topic: envelope.topic, partition: envelope.partition, offset: envelope.offset }
}

function placeOf(envelope: Envelope): string {
  return `${envelope.topic}-${envelope.partition}-${envelope.offset}`
}
