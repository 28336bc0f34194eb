import { TidemarkError } from '../errors.ts'
import { decodeMessage } from '../message/decode-message.ts'
import type { EventDefinition } from '../message/event.ts'
import type { LogRecord } from '../message/port.ts'
import { readEnvelope } from '../message/read-envelope.ts'

/**
 * What keeps a handler of this event from getting the message, after upcasting and by the present schema: `MESSAGE_UNDECODABLE`, `EVENT_UNKNOWN_VERSION`,
 * `EVENT_INVALID`, or `INPUT_INVALID` for a message of another type. `null`: nothing. None of them quotes the data. Rejects where the codec needs
 * something that is away now (`SCHEMA_UNAVAILABLE`).
 */
export async function schemaProblem(record: LogRecord, definition: EventDefinition): Promise<TidemarkError | null> {
  const envelope = readEnvelope(record)
  if (envelope.type !== definition.type && !(envelope.type === null && definition.untyped)) {
    return new TidemarkError('INPUT_INVALID', `Expected a message of the type "${definition.type}", got ${named(envelope.type)}.`, {
      details: { expected: definition.type, type: envelope.type },
    })
  }
  try {
    await decodeMessage(envelope, definition)
    return null
  } catch (error) {
    if (TidemarkError.is(error) && !error.retryable) return error
    throw error
  }
}

function named(type: string | null): string {
  return type === null ? 'one that names none' : `"${type}"`
}
