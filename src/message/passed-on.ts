import { uuidv7 } from '../internal/uuid.ts'
import type { OutboxMessage } from './outbox-message.ts'
import type { Header, OutgoingRecord } from './port.ts'
import { madeStorable } from './storable.ts'
import { storedRecordHeader, storedTopicHeader } from './wire.ts'

/** A record that goes into another topic as it is. */
export interface PassedOnRecord extends Omit<OutgoingRecord, 'partition'> {
  /** `null`: it names none. */
  readonly type: string | null
  /** What orders it in the outbox, together with its key. */
  readonly aggregateType: string
  /** Where it stands now, as text: chooses the partition of a record without a key. */
  readonly place: string
}

/**
 * The outbox's row for a record that is passed on byte for byte, whoever made it: a key that is no text, headers that occur twice, no value. The relay adds
 * its coordinate, and nothing else. Other senders of the outbox, such as Debezium's router, do not know this form.
 */
export function passedOn({ topic, key, value, headers, type, aggregateType, place }: PassedOnRecord): OutboxMessage {
  const exact: StoredRecord = [key === null ? null : base64(key), value !== null, ...headers.map(storedHeader)]
  return {
    id: uuidv7(),
    aggregateType,
    aggregateId: madeStorable(key === null || key.length === 0 ? place : key.toString()),
    type: madeStorable(type ?? 'unknown'),
    payload: value ?? Buffer.alloc(0),
    // In base64 as a whole: names of foreign headers may be what no jsonb takes.
    headers: { [storedTopicHeader]: topic, [storedRecordHeader]: base64(Buffer.from(JSON.stringify(exact))) },
  }
}

/** Key, whether there is a value, headers; bytes in base64. */
type StoredRecord = readonly [key: string | null, hasValue: boolean, ...headers: (readonly [name: string, value: string | null])[]]

/** Is this the row of a record that is passed on? */
export function isPassedOn({ headers }: OutboxMessage): boolean {
  return headers[storedRecordHeader] !== undefined
}

/** The record of such a row, as it was. `null`: somebody else wrote the row, and it says nothing. */
export function readPassedOn({ payload, headers }: OutboxMessage): Pick<OutgoingRecord, 'key' | 'value' | 'headers'> | null {
  try {
    const [key, hasValue, ...more] = JSON.parse(Buffer.from(headers[storedRecordHeader]!, 'base64').toString()) as StoredRecord
    return {
      key: key === null ? null : Buffer.from(key, 'base64'),
      value: hasValue ? payload : null,
      headers: more.map(([name, value]) => [String(name), value === null ? null : Buffer.from(value, 'base64')] as const),
    }
  } catch {
    return null
  }
}

function storedHeader([name, value]: Header): readonly [string, string | null] {
  return [name, value === null ? null : base64(typeof value === 'string' ? Buffer.from(value) : value)]
}

function base64(bytes: Buffer): string {
  return bytes.toString('base64')
}
