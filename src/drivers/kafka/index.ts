/**
 * Kafka as the log: for teams that have it, and for services that outgrow one machine.
 *
 * ```ts
 * import { service } from 'tidemark'
 * import { kafka } from 'tidemark/kafka'
 * import { postgres } from 'tidemark/postgres'
 *
 * const shop = service('shop', { database: postgres({ pool }), broker: kafka({ brokers: ['kafka-1:9092'] }) })
 * ```
 *
 * @module
 */
export { KafkaBroker, kafka } from './kafka-broker.ts'
export type { KafkaBrokerOptions } from './kafka-broker.ts'
export type { Compression } from './record-batch/compression.ts'
export type { Sasl, Secret } from './wire/log-in.ts'
