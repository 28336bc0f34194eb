/**
 * Events and messages: definitions with a schema, versions and upcasters; the envelope that every record carries, in CloudEvents form; and
 * what a handler hands down to what it publishes. Nothing here does I/O.
 *
 * ```ts
 * import { createMessage, decodeMessage, event, readEnvelope, recordHeaders } from 'tidemark/message'
 * import { z } from 'zod'
 *
 * const OrderPlaced = event('OrderPlaced', {
 *   aggregate: 'order',
 *   key: (order) => order.orderId,
 *   schema: z.object({ orderId: z.string(), total: z.number() }),
 * })
 *
 * const producer = { source: '/shop', now: () => new Date(), uuid: () => crypto.randomUUID() }
 * const stored = await createMessage(OrderPlaced, { orderId: 'o-1', total: 42 }, undefined, producer)
 * const record = {
 *   topic: OrderPlaced.topic, partition: 0, offset: 0, timestamp: Date.now(),
 *   key: Buffer.from(stored.aggregateId), value: stored.payload, headers: recordHeaders(stored, null),
 * }
 * const message = await decodeMessage(readEnvelope(record), OrderPlaced)
 * console.log(message.data.total)
 * ```
 *
 * @module
 */

export { currentGroup, currentMessage, handling } from './ambient.ts'
export { jsonCodec } from './codec.ts'
export type { Codec } from './codec.ts'
export { compareCoordinates, formatCoordinate, parseCoordinate } from './coordinate.ts'
export type { Coordinate } from './coordinate.ts'
export { createMessage } from './create-message.ts'
export type { MessageOptions, Producer } from './create-message.ts'
export { decodeMessage } from './decode-message.ts'
export type { Envelope, IdentityOrigin } from './envelope.ts'
export { event } from './event.ts'
export type { EventData, EventDefinition, EventInput, EventOptions, Upcaster } from './event.ts'
export type { Eventual } from './eventual.ts'
export type { Message, MessageOf } from './message.ts'
export type { OutboxMessage } from './outbox-message.ts'
export { murmur2, partitionOf } from './partition.ts'
export type {
  Appender,
  AssignmentListener,
  Broker,
  BrokerTraits,
  Fetched,
  FetchOptions,
  FetchPosition,
  Header,
  LeaderRun,
  LogRecord,
  Membership,
  MembershipOptions,
  OutgoingRecord,
  Refusal,
  SequencedRecord,
  StreamClaim,
  Topic,
  TopicPartition,
  TopicSpec,
} from './port.ts'
export { readEnvelope } from './read-envelope.ts'
export type { EnvelopeOptions } from './read-envelope.ts'
export { recordHeaders } from './record-headers.ts'
export { readSchemaRegistryFrame, schemaRegistryFraming } from './schema-registry.ts'
export type { Framed, FramedCodec } from './schema-registry.ts'
export type { InferInput, InferOutput, SchemaIssue, SchemaResult, StandardSchemaV1 } from './standard-schema.ts'
export { isTopicName, topicOf } from './topic.ts'
export { isTraceparent } from './trace-context.ts'
export type { Row, Transaction } from './transaction.ts'
export { coordinateHeader, storedHeadersHeader } from './wire.ts'
