/**
 * The consume loop: reads topics as a member of a group and runs handlers so that their effects commit once, together with the group's
 * position, and messages of one key in order.
 *
 * ```ts
 * import { onMessage, runConsumer } from 'tidemark/consumer'
 *
 * const consumer = runConsumer({
 *   group: 'billing', broker, store,
 *   handlers: [
 *     onMessage(OrderPlaced, async (order, { tx }) => {
 *       await tx.query('insert into invoices (order_id, total) values ($1, $2)', [order.data.orderId, order.data.total])
 *     }),
 *   ],
 * })
 * // …
 * await consumer.stop()
 * ```
 *
 * @module
 */

export { bufferPublish } from '../outbox/own-transaction.ts'
export type { BatchLimits } from './partition/batch-size.ts'
export type { Consumer, ConsumerStatus, PartitionStatus } from './consumer.ts'
export type { ConsumerOptions } from './consumer-options.ts'
export type { StartFrom } from './partition/first-offsets.ts'
export type { DeadLetterPolicy } from './dead-letter-policy.ts'
export type { BreakerPolicy } from '../retry/circuit-breaker.ts'
export type { RetryPolicy, RetryTiming } from '../retry/retry-policy.ts'
export type { DeadLetterTopic, RetryTopicsOptions } from '../retry/retry-topics.ts'
export { KeyDesk } from './hold/key-desk.ts'
export type { KeyDeskOptions, KeyOptions } from './hold/key-desk.ts'
export type { GroupKey, HeldKey, HoldChange, KeyHolds } from './hold/port.ts'
export { onBatch, onMessage } from './handler.ts'
export type { BatchHandler, Handler, HandlerContext, HandlerOptions, MessageHandler } from './handler.ts'
export { keyHash, laneOf } from './partition/lane-of.ts'
export type {
  AdvanceTarget,
  BatchEnd,
  BatchTransaction,
  CommitOutcome,
  ConsumerStore,
  DeadLetter,
  FailedAttempt,
  FirstPositions,
  HandlerTransaction,
  LanePosition,
  LaneRef,
  LogPlace,
  ParkedBounds,
  Parking,
  PartitionPosition,
  PartitionRef,
  PartitionState,
  TakeOver,
  TopicRef,
} from './port.ts'
export type {
  HeadFailure,
  LeaseRequest,
  LeasedKey,
  ParkedRecord,
  ParkedStore,
  RetryEnd,
  RetryOutcome,
  RetryTransaction,
  SplitKey,
  SplitKeys,
} from './parked-port.ts'
export { runConsumer } from './run-consumer.ts'
export type { ConsumerCounts } from './tally.ts'
