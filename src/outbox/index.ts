/**
 * The transactional outbox: messages are stored in the transaction that changes the state, and a relay publishes what was committed.
 *
 * ```ts
 * import { runRelay } from 'tidemark/outbox'
 * import { MemoryBroker } from 'tidemark/memory'
 * import { PostgresDatabase, PostgresOutboxStore, migrate } from 'tidemark/postgres'
 *
 * const database = new PostgresDatabase({ connectionString: process.env.DATABASE_URL })
 * await migrate(database, { set: 'service' })
 * const relay = runRelay({ store: new PostgresOutboxStore({ database }), broker: new MemoryBroker() })
 * ```
 *
 * @module
 */

export type {
  AppendHints,
  HeldRow,
  Maintenance,
  MaintenanceEvent,
  MaintenanceOptions,
  OutboxPage,
  OutboxRow,
  OutboxStore,
  OwnerClaim,
  Probed,
  RefusedRow,
  RelayState,
  RelayStream,
  Tick,
} from './port.ts'
export type {
  DiscardOptions,
  KeyRef,
  OutboxOperations,
  OutboxStatus,
  ParkedKey,
  RebasePlan,
  RebaseStream,
  StreamStatus,
} from './operations.ts'
export { rebase } from './rebase.ts'
export type { RebaseOptions, RebaseReport } from './rebase.ts'
export { runRelay } from './relay.ts'
export type { Relay, RelayOccurrence, RelayOptions, RelayStatus } from './relay.ts'
export type { RelayNotice } from './relay-machine.ts'
