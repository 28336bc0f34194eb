import { TidemarkError } from '../errors.ts'
import { decodeMessage } from '../message/decode-message.ts'
import type { EventDefinition } from '../message/event.ts'
import type { LogRecord } from '../message/port.ts'
import { type EnvelopeOptions, readEnvelope } from '../message/read-envelope.ts'

/**
 * Would this record be understood today: read, decoded, brought to the present version, valid? `null`: yes. Else the code of the error. `'UNHANDLED'`: none
 * of the definitions is for it.
 */
export async function schemaProblem(
  record: LogRecord,
  definitions: readonly EventDefinition[],
  options: EnvelopeOptions = {},
): Promise<string | null> {
  const envelope = readEnvelope(record, options)
  const ofTopic = definitions.filter(({ topic }) => topic === record.topic)
  const definition = ofTopic.find(({ type, untyped }) => (envelope.type === null ? untyped : type === envelope.type))
  if (definition === undefined) return envelope.undecodable === undefined ? 'UNHANDLED' : 'MESSAGE_UNDECODABLE'
  try {
    await decodeMessage(envelope, definition)
    return null
  } catch (error) {
    return TidemarkError.is(error) ? error.code : 'MESSAGE_UNDECODABLE'
  }
}
