import { dirname, join } from 'node:path'
import type { ServiceOptions } from 'tidemark'
import { embedded, postgres } from 'tidemark/postgres'
import { type DatabaseServer, embeddedServer, ownServer } from './database-server.ts'
import { postgresLog, type ShopLog } from './shop-log.ts'

/**
 * Where the shop lives: a database per service, and the log between them.
 *
 * `service('orders')` alone would do. The shop names its databases `shop_…` and has a log of its own, so that it can be emptied without
 * touching whatever else lives on the same server.
 */
export interface Foundation {
  /** Database and broker of a service. */
  optionsFor(service: string): ServiceOptions
  /** Name of a service's database. */
  databaseOf(service: string): string
  readonly server: DatabaseServer
  readonly log: ShopLog
  /** Ends the connections of the log, and the hold on servers of ours. Stop the services first. */
  release(): Promise<void>
}

export interface FoundationChoice {
  readonly broker: 'postgres' | 'kafka'
  /** A Postgres server of your own; `null` for the embedded one. */
  readonly database: URL | null
}

/** Starts what is to be ours. Rejects where something is missing or does not answer, and holds nothing then. `say` hears of what takes time. */
export async function openFoundation(choice: FoundationChoice, say: (line: string) => void): Promise<Foundation> {
  if (choice.broker === 'postgres') {
    const server = await openServer(choice)
    return foundationOn(server, postgresLog(server))
  }
  const { kafkaLog } = await import('./kafka-log.ts')
  // Kafka first: one that was given and does not answer is known at once.
  const log = await kafkaLog(join(dirname(embedded().directory), 'kafka'), say)
  try {
    return foundationOn(await openServer(choice), log)
  } catch (error) {
    await log.release()
    throw error
  }
}

function openServer({ database }: FoundationChoice): Promise<DatabaseServer> {
  return database === null ? embeddedServer() : Promise.resolve(ownServer(database))
}

function foundationOn(server: DatabaseServer, log: ShopLog): Foundation {
  const databaseOf = (service: string) => `${log.databasePrefix}${service}`
  return {
    server,
    log,
    databaseOf,
    optionsFor: (service) => ({ database: postgres(server.at(databaseOf(service))), ...log.optionsFor(service) }),
    release: async () => {
      await log.release()
      await server.release()
    },
  }
}
