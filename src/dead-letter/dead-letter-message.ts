import { originalOf } from '../consumer/batch/original-record.ts'
import type { LogRecord } from '../message/port.ts'
import { readEnvelope } from '../message/read-envelope.ts'
import type { LetterDetail } from './letter.ts'

/** The message as its publisher meant it. */
export interface OriginalEvent {
  readonly eventId: string
  /** `null`: the record names none. */
  readonly eventType: string | null
  readonly source: string
  readonly key: string | null
  readonly occurredAt: Date
  readonly schemaVersion: number
  readonly correlationId: string
  readonly causationId: string | undefined
  readonly headers: Readonly<Record<string, string>>
  /** Parsed where it is JSON; the bytes where it is not. `null`: there are none. */
  readonly data: unknown
}

/** A dead letter in the terms of the textbooks; all that is known of it, raw bytes and every attempt among it, is in `context`. */
export interface DeadLetterMessage {
  readonly originalEvent: OriginalEvent
  readonly failureReason: string
  readonly failureStack: string | undefined
  /** Runs that were charged to it. */
  readonly retryCount: number
  readonly firstFailedAt: Date
  readonly lastFailedAt: Date
  /** The topic it was first in: where it died in a retry topic, not that one. */
  readonly sourceQueue: string
  /**
   * `record` has key, value and headers byte for byte, as they stand after the last edit and as a redrive would bring them; `lineage[0].before` those that came
   * from the log. Of a message that died in a retry topic it is the copy there.
   */
  readonly context: LetterDetail
}

/** The event as it came from the log, whatever was edited since. */
export function deadLetterMessage(letter: LetterDetail): DeadLetterMessage {
  const { record, stack, lineage } = letter
  const [first] = lineage
  const original = originalOf(first === undefined ? record : { ...record, ...first.before }).record
  return {
    originalEvent: originalEvent(original),
    failureReason: letter.reason,
    failureStack: stack ?? undefined,
    retryCount: letter.retryCount,
    firstFailedAt: letter.firstFailedAt,
    lastFailedAt: letter.lastFailedAt,
    sourceQueue: original.topic,
    context: letter,
  }
}

function originalEvent(record: LogRecord): OriginalEvent {
  const envelope = readEnvelope(record)
  const { id, type, source, key, time, schemaVersion, correlationId, causationId, headers, parsed, body } = envelope
  return {
    eventId: id,
    eventType: type,
    source,
    key,
    occurredAt: time,
    schemaVersion,
    correlationId,
    causationId,
    headers,
    data: parsed === undefined ? dataOf(body ?? record.value) : parsed.data,
  }
}

function dataOf(bytes: Buffer | null): unknown {
  if (bytes === null) return null
  try {
    return JSON.parse(bytes.toString()) as unknown
  } catch {
    return bytes
  }
}
