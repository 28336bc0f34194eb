/**
 * Everything on Postgres: the service's database, a log for teams without Kafka, and an embedded server.
 *
 * ```ts
 * import { service } from 'tidemark'
 * import { postgres, postgresBroker } from 'tidemark/postgres'
 * import { Pool } from 'pg'
 *
 * const pool = new Pool({ connectionString: process.env.DATABASE_URL })
 * const shop = service('shop', { database: postgres({ pool }), broker: postgresBroker({ connectionString: process.env.LOG_URL }) })
 * ```
 *
 * @module
 */
export { PostgresDatabase } from './database.ts'
export type { BeforeCommit, ClientPool, ConnectionSettings, PostgresDatabaseOptions } from './database.ts'
export { embedded } from './embedded/index.ts'
export type { EmbeddedConnection, EmbeddedLease, EmbeddedOptions, EmbeddedPostgres, ServerSettings, StopMode } from './embedded/index.ts'
export { pgTransaction, postgresJsTransaction } from './foreign-transactions.ts'
export type { PgQueryable, PostgresJsSql } from './foreign-transactions.ts'
export { migrate, requireSchema } from './migrations/migrate.ts'
export type { MigrationOptions, MigrationReport } from './migrations/migrate.ts'
export { migrationSql } from './migrations/migration-sql.ts'
export { LogEraser } from './log/log-eraser.ts'
export { postgresErasableStores } from './postgres-erasable-stores.ts'
export type { ErasableStoresOptions } from './postgres-erasable-stores.ts'
export { PostgresOperationStore } from './postgres-operation-store.ts'
export { PostgresOutboxOperations } from './postgres-outbox-operations.ts'
export { PostgresBroker, postgresBroker } from './postgres-broker.ts'
export type { PostgresBrokerOptions } from './postgres-broker.ts'
export { PostgresConsumerStore } from './postgres-consumer-store.ts'
export { PostgresAlertStore } from './postgres-alert-store.ts'
export { PostgresDeadLetterStore } from './postgres-dead-letter-store.ts'
export { postgres } from './postgres-driver.ts'
export type { PostgresOptions } from './postgres-driver.ts'
export { PostgresInboxStore } from './postgres-inbox-store.ts'
export { PostgresKeyHolds } from './postgres-key-holds.ts'
export { PostgresLedgerStore } from './postgres-ledger-store.ts'
export type { PostgresLedgerStoreOptions } from './postgres-ledger-store.ts'
export { PostgresOutboxStore } from './postgres-outbox-store.ts'
export type { PostgresOutboxOptions } from './postgres-outbox-store.ts'
export { updateVersion, updateVersions } from './version-update.ts'
export type { VersionUpdateOptions, VersionedRow } from './version-update.ts'
export type { Session, SessionClient } from './session.ts'
export type { Statement, StatementResult } from './statement-run.ts'
