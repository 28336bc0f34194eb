import { decodeMessage, partitionOf, readEnvelope, recordHeaders, topicOf } from '../../src/message/index.ts'
import type {
  Coordinate,
  EventDefinition,
  Header,
  InferOutput,
  LogRecord,
  Message,
  OutboxMessage,
  Producer,
  StandardSchemaV1,
} from '../../src/message/index.ts'

/** A producer with a fixed clock and ids that count. */
export function testProducer(source = '/shop'): Producer {
  let count = 0
  return {
    source,
    now: () => new Date('2026-01-02T03:04:05.678Z'),
    uuid: () => `019b7c00-0000-7000-8000-${String(++count).padStart(12, '0')}`,
  }
}

export const coordinate: Coordinate = { sourceEpoch: 'k3j4h5.1', generation: 2, stream: 0, tick: 17, seq: 1234 }

/** A record as a log returns it. */
export function logRecord(parts: Partial<LogRecord> = {}): LogRecord {
  return { topic: 'orders', partition: 3, offset: 42, timestamp: 1_700_000_000_000, key: null, value: null, headers: [], ...parts }
}

/** What the relay and the log make of a stored message: headers come back as bytes. */
export function relayed(message: OutboxMessage, at: Coordinate | null = coordinate): LogRecord {
  const key = Buffer.from(message.aggregateId)
  return logRecord({
    topic: topicOf(message.aggregateType, message.headers),
    partition: partitionOf(key, 8),
    key,
    value: message.payload,
    headers: onTheWire(recordHeaders(message, at)),
  })
}

export function onTheWire(headers: readonly Header[]): Header[] {
  return headers.map(([name, value]) => [name, typeof value === 'string' ? Buffer.from(value) : value])
}

/** The whole way of a message from the outbox to its handler. */
export async function receive<Type extends string, Schema extends StandardSchemaV1>(
  message: OutboxMessage,
  definition: EventDefinition<Type, Schema>,
): Promise<Message<InferOutput<Schema>>> {
  return decodeMessage(readEnvelope(relayed(message)), definition)
}

/** A message as if it were being handled. */
export function handledMessage(parts: Partial<Message> = {}): Message {
  return {
    id: 'm-1',
    type: 'Something',
    source: '/shop',
    time: new Date(0),
    key: null,
    data: null,
    schemaVersion: 1,
    correlationId: 'm-1',
    headers: {},
    topic: 'orders',
    partition: 0,
    offset: 0,
    ...parts,
  }
}
