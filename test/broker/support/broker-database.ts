import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { migrate } from '../../../src/drivers/postgres/migrations/migrate.ts'
import { type PostgresBroker, type PostgresBrokerOptions, postgresBroker } from '../../../src/drivers/postgres/postgres-broker.ts'
import type { TestDatabase } from '../../support/postgres.ts'

/** Brokers on a test's database, each closed by `close`. */
export interface BrokerDatabase {
  readonly connectionString: string
  connect(options?: Partial<PostgresBrokerOptions>): PostgresBroker
  /** Closes the brokers made so far. */
  close(): Promise<void>
}

export async function brokerDatabase(database: TestDatabase): Promise<BrokerDatabase> {
  const connectionString = database.connectionString()
  const admin = new PostgresDatabase({ connectionString })
  await migrate(admin, { set: 'log' })
  await admin.close()
  let brokers: PostgresBroker[] = []
  return {
    connectionString,
    connect(options = {}) {
      const where = options.connection === undefined && options.pool === undefined ? { connectionString } : {}
      const broker = postgresBroker({ ...where, maxConnections: 3, ...options })
      brokers.push(broker)
      return broker
    },
    async close() {
      await Promise.all(brokers.map((broker) => broker.close()))
      brokers = []
    },
  }
}
