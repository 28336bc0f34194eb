import type { DatabaseDriver } from '../drivers/port.ts'
import { type EmbeddedLease, embedded } from '../drivers/postgres/embedded/index.ts'
import { type PostgresBroker, postgres, postgresBroker } from '../drivers/postgres/index.ts'
import type { Broker } from '../message/port.ts'

/** Database of the log that all embedded services of a directory share. */
export const brokerDatabase = 'tidemark_broker'

/** What a service without options runs on: a database of its own and the shared log, both in the embedded server of the directory. */
export interface EmbeddedPlatform {
  readonly database: DatabaseDriver
  readonly broker: Broker
  /** How to look inside the service's database, with the password. */
  connectionString(service: string): string
  /** Ends the service's share of the log and of the server. The last one of the last process stops the server. */
  release(): Promise<void>
}

/** One log per process and server: an append wakes the readers of the same process at once, without a look at the database. */
interface SharedLog {
  readonly broker: PostgresBroker
  users: number
}

/** On `globalThis`, because two copies of this module can meet in one process. Keyed by the server's directory. */
const registryKey: unique symbol = Symbol.for('tidemark.embedded.log')

/** Starts the embedded server if it does not run. Rejects with `EMBEDDED_MISSING` or `EMBEDDED_FAILED`. */
export async function embeddedPlatform(): Promise<EmbeddedPlatform> {
  const server = embedded()
  const lease = await server.acquire()
  try {
    await lease.ensureDatabase(brokerDatabase)
  } catch (error) {
    await lease.release()
    throw error
  }
  const log = shareLog(server.directory, lease)
  return {
    broker: log.broker,
    database: embeddedDatabase(lease),
    connectionString: (service) => lease.connectionString(service),
    release: async () => {
      await leaveLog(server.directory, log)
      await lease.release()
    },
  }
}

function embeddedDatabase(lease: EmbeddedLease): DatabaseDriver {
  return {
    async open(service, outbox) {
      await lease.ensureDatabase(service)
      return postgres({ connection: () => lease.connection(service), revive: () => lease.ensureRunning() }).open(service, outbox)
    },
  }
}

function shareLog(directory: string, lease: EmbeddedLease): SharedLog {
  const known = registry().get(directory)
  if (known !== undefined) {
    known.users += 1
    return known
  }
  const broker = postgresBroker({ connection: () => lease.connection(brokerDatabase), revive: () => lease.ensureRunning() })
  const log = { broker, users: 1 }
  registry().set(directory, log)
  return log
}

async function leaveLog(directory: string, log: SharedLog): Promise<void> {
  log.users -= 1
  if (log.users > 0) return
  registry().delete(directory)
  await log.broker.close()
}

function registry(): Map<string, SharedLog> {
  const global: typeof globalThis & { [registryKey]?: Map<string, SharedLog> } = globalThis
  return (global[registryKey] ??= new Map())
}
