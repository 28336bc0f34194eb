/**
 * The broker in memory, for tests, examples and simulations.
 *
 * ```ts
 * const log = new MemoryLog({ clock })
 * const first = memoryBroker({ log })
 * const second = memoryBroker({ log }) // as another process would see the same log
 * ```
 *
 * @module
 */
export { MemoryBroker, memoryBroker, type MemoryBrokerOptions } from './memory-broker.ts'
export { MemoryLog } from './memory-log.ts'
export { MemoryConsumerStore, type MemoryConsumerStoreOptions, type ParkedMessage } from './memory-consumer-store.ts'
export { MemoryTransaction, type MemoryData } from './memory-transaction.ts'
