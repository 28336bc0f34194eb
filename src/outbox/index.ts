/**
 * The transactional outbox: messages are stored in the transaction that changes the state, and a relay publishes what was committed.
 *
 * ```ts
 * import { runRelay } from 'tidemark/outbox'
 * import { PostgresBroker, PostgresDatabase, PostgresOutboxStore } from 'tidemark/postgres'
 *
 * const database = new PostgresDatabase({ connectionString: process.env.DATABASE_URL! }) // after: tidemark migrate
 * const broker = new PostgresBroker({ connectionString: process.env.BROKER_URL! })
 * const relay = runRelay({ store: new PostgresOutboxStore({ database }), broker })
 * await relay.stop()
 * ```
 *
 * @module
 */

export type {
  AppendHints,
  HeldBack,
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
  ReleaseOptions,
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
