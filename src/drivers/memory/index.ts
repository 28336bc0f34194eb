/**
 * Database and broker in memory, for tests, examples and simulations: transactions that roll back, groups, fences and order as on the real ones,
 * within one process and for its life.
 *
 * ```ts
 * import { service } from 'tidemark'
 * import { memory, memoryBroker, memoryView } from 'tidemark/memory'
 *
 * const database = memory()
 * const billing = service('billing', { database, broker: memoryBroker() })
 * billing.consume(OrderPlaced, (order, { tx }) => memoryView(tx).set(order.data.orderId, order.data.total))
 * ```
 *
 * @module
 */
export { MemoryBroker, memoryBroker, type MemoryBrokerOptions } from './memory-broker.ts'
export { MemoryLog } from './memory-log.ts'
export { memory, type MemoryDriver, type MemoryOptions } from './memory-driver.ts'
export { MemoryDatabase, type MemoryDatabaseOptions } from './memory-database.ts'
export { type MemoryTransaction } from './memory-transaction.ts'
export { MemoryView, memoryView, type MemoryData } from './memory-view.ts'
export { MemoryOperationStore } from './memory-operation-store.ts'
export { MemoryOutboxStore, type MemoryOutboxOptions } from './memory-outbox-store.ts'
export { MemoryInboxStore } from './memory-inbox-store.ts'
export { MemoryLedgerStore } from './memory-ledger-store.ts'
export { MemoryConsumerStore, type MemoryConsumerStoreOptions } from './memory-consumer-store.ts'
export { MemoryAlertStore } from './memory-alert-store.ts'
export { MemoryKeyHolds } from './memory-key-holds.ts'
export { MemoryDeadLetterStore } from './memory-dead-letter-store.ts'
export { type MemoryDeadLetter, type ParkedMessage } from './memory-consumer-tables.ts'
