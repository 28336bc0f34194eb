import { setTimeout as pause } from 'node:timers/promises'
import { brokerCases, brokerOffers, exercise } from '../../src/conformance/index.ts'
import { type PostgresBroker, postgresBroker } from '../../src/drivers/postgres/index.ts'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { migrate } from '../../src/drivers/postgres/migrations/migrate.ts'
import { testDatabase } from '../support/postgres.ts'
import { vitestRunner } from './vitest-runner.ts'

const database = await testDatabase('conformance')
const connection = { connectionString: database.connectionString() }
let logs = 0

exercise(
  brokerCases,
  {
    offers: brokerOffers(postgresBroker(connection).traits, ['trim', 'deleteTopic', 'settings']),
    async open() {
      // A schema per case: as separate as databases, and made faster.
      const schema = `log_${(logs += 1)}`
      const admin = new PostgresDatabase(connection)
      await migrate(admin, { set: 'log', schema })
      await admin.close()
      const brokers: PostgresBroker[] = []
      const connect = async (settings = {}): Promise<PostgresBroker> => {
        const broker = postgresBroker({ ...connection, schema, maxConnections: 3, ...settings })
        brokers.push(broker)
        return broker
      }
      const own = await connect()
      return {
        connect,
        elapse: (ms) => pause(ms),
        trim: () => own.trim(),
        deleteTopic: (name) => own.deleteTopic(name),
        close: async () => void (await Promise.all(brokers.map((broker) => broker.close()))),
      }
    },
  },
  vitestRunner,
)
