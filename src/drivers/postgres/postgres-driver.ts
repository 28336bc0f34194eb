import type { OutboxMessage } from '../../message/outbox-message.ts'
import type { Transaction } from '../../message/transaction.ts'
import type { DatabaseDriver, OutboxSettings, ServiceDatabase } from '../port.ts'
import { PostgresDatabase, type PostgresDatabaseOptions } from './database.ts'
import { migrate } from './migrations/migrate.ts'
import { PostgresAlertStore } from './postgres-alert-store.ts'
import { PostgresConsumerStore } from './postgres-consumer-store.ts'
import { PostgresInboxStore } from './postgres-inbox-store.ts'
import { PostgresLedgerStore } from './postgres-ledger-store.ts'
import { PostgresDeadLetterStore } from './postgres-dead-letter-store.ts'
import { PostgresKeyHolds } from './postgres-key-holds.ts'
import { PostgresOperationStore } from './postgres-operation-store.ts'
import { PostgresOutboxStore } from './postgres-outbox-store.ts'
import { appendStatements } from './queries/outbox.ts'

export interface PostgresOptions extends PostgresDatabaseOptions {
  /** Where Tidemark's own tables live. @default `tidemark` */
  readonly schema?: string
  /** Bring the tables up to date when the service opens. `false`: check only, for roles that may not. @default true */
  readonly migrate?: boolean
}

/**
 * The service's Postgres database: yours by `pool`, or by `connectionString`.
 *
 * ```ts
 * service('shop', { database: postgres({ pool }) })
 * ```
 */
export function postgres(options: PostgresOptions): DatabaseDriver {
  const { schema = 'tidemark' } = options
  return {
    async open(_service, outbox = {}) {
      const database = new PostgresDatabase(withConnectionsFor(outbox, options))
      try {
        await migrate(database, { set: 'service', schema, apply: options.migrate ?? true })
        return openDatabase(database, schema, outbox)
      } catch (error) {
        await database.close()
        throw error
      }
    },
  }
}

/** Each stream holds a connection. A given pool is as large as it is. */
function withConnectionsFor({ streams = 1 }: OutboxSettings, options: PostgresOptions): PostgresOptions {
  return { ...options, maxConnections: options.maxConnections ?? 9 + streams }
}

function openDatabase(database: PostgresDatabase, schema: string, outbox: OutboxSettings): ServiceDatabase {
  return {
    outbox: new PostgresOutboxStore({ ...outbox, database, schema }),
    consumer: new PostgresConsumerStore({ database, schema }),
    inbox: new PostgresInboxStore({ database, schema }),
    ledger: new PostgresLedgerStore({ database, schema }),
    deadLetters: new PostgresDeadLetterStore({ database, schema }),
    holds: new PostgresKeyHolds({ database, schema }),
    alerts: new PostgresAlertStore({ database, schema }),
    operations: new PostgresOperationStore({ database, schema }),
    place: database.place,
    transaction: <T>(work: (tx: Transaction) => Promise<T>, publish: () => Promise<readonly OutboxMessage[]>) =>
      database.transaction(work, async () => {
        const messages = await publish()
        return messages.length === 0 ? [] : appendStatements(schema, messages)
      }),
    query: (text, params) => database.use((session) => session.query(text, params, session.clientParser)),
    close: () => database.close(),
  }
}
