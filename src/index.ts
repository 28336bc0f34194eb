/**
 * Tidemark: reliable event-driven integration on Postgres and Kafka.
 *
 * ```ts
 * import { event, service } from 'tidemark'
 * import { z } from 'zod'
 *
 * const OrderPlaced = event('OrderPlaced', {
 *   aggregate: 'order',
 *   key: (order) => order.orderId,
 *   schema: z.object({ orderId: z.string(), total: z.number() }),
 * })
 *
 * const shop = service('shop')
 * await shop.start()
 * await shop.transaction(async (tx) => {
 *   await shop.publish(tx, OrderPlaced, { orderId: 'o-1', total: 42 })
 * })
 * await shop.stop()
 * ```
 *
 * @module
 */
export { TidemarkError, errorCatalogue } from './errors.ts'
export type { ErrorCode } from './errors.ts'
export { event } from './message/index.ts'
export type { EventData, EventDefinition, EventInput, EventOptions, Message, MessageOf, MessageOptions } from './message/index.ts'
export type { BatchHandler, DeadLetterPolicy, HandlerContext, MessageHandler, RetryPolicy } from './consumer/index.ts'
export { BusinessRuleViolation, DeserializationError, RetryLater, TerminalError, ValidationError } from './retry/index.ts'
export type { BreakerPolicy, RetryTiming } from './retry/index.ts'
export { service, settled } from './service/index.ts'
export type {
  ConsumeOptions,
  Flow,
  Flowing,
  GroupLag,
  LagOptions,
  PartitionLag,
  GroupStatus,
  PublishEntry,
  Service,
  ServiceConsumerOptions,
  ServiceOptions,
  ServiceOperationOptions,
  ServiceOutboxOptions,
  ServiceStatus,
  StatusFinding,
  SplitTopic,
  SettledOptions,
} from './service/index.ts'
export type { Actor, Authorize, Operation, OperationKind } from './operation/index.ts'
export type { Row, Transaction } from './message/transaction.ts'
