/**
 * The composition root: a service wires the patterns to its database and broker, and owns their start, stop and health.
 *
 * ```ts
 * import { service } from 'tidemark'
 *
 * const shop = service('shop')
 * await shop.start()
 * await shop.stop()
 * ```
 *
 * @module
 */
export type {
  ServiceAlertOptions,
  ServiceConsumerOptions,
  ServiceOperationOptions,
  ServiceOptions,
  ServiceOutboxOptions,
} from './options.ts'
export type { PublishEntry } from './publisher.ts'
export { service } from './service.ts'
export type { ConsumeOptions, Service } from './service.ts'
export { settled } from './settled.ts'
export type { Flow, Flowing, SettledOptions } from './settled.ts'
export type { GroupStatus, ServiceStatus, StatusFinding } from './status.ts'
export type { SplitTopic } from './split-keys.ts'
export type { GroupLag } from './lag.ts'
export type { LagOptions, PartitionLag } from './partition-lag.ts'
