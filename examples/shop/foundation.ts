import type pg from 'pg'
import type { ServiceOptions } from 'tidemark'
import { embedded, postgres, postgresBroker } from 'tidemark/postgres'

/**
 * Where the shop lives: a database per service and one for the log between them.
 *
 * `service('orders')` alone would do. The shop names its databases `shop_…` and has a log of its own, so that it can be emptied without
 * touching whatever else lives on the same server.
 */
export interface Foundation {
  /** Database and broker of a service. */
  optionsFor(service: string): ServiceOptions
  /** How to look inside a service's database. Of the embedded server with its password, else without. */
  connectionString(service: string): string
  /** How to reach the server itself, for work on whole databases. */
  readonly maintenance: () => pg.ClientConfig
  /** Where it is, for people. */
  readonly place: string
  /** Starts the server again if it is ours and has died. */
  revive(): Promise<void>
  /** Ends the connections of the log, and the hold on the embedded server. Stop the services first. */
  release(): Promise<void>
}

/** How long the share of a killed process waits for others. Short, because shops get killed here on purpose; a busy machine stays well below it. */
const sessionTimeoutMs = 4_000

export const logDatabase = databaseOf('log')

/** Name of a service's database. */
export function databaseOf(service: string): string {
  return `shop_${service}`
}

/** A server in this project's folder, made and started when needed. Rejects with `EMBEDDED_MISSING` or `EMBEDDED_FAILED`. */
export async function embeddedFoundation(): Promise<Foundation> {
  const server = embedded()
  const lease = await server.acquire()
  const at = (database: string) => ({ connection: () => lease.connection(database), revive: () => lease.ensureRunning() })
  const log = postgresBroker({ ...at(logDatabase), sessionTimeoutMs })
  return {
    optionsFor: (service) => ({ database: postgres(at(databaseOf(service))), broker: log }),
    connectionString: (service) => lease.connectionString(databaseOf(service)),
    maintenance: () => lease.connection('postgres'),
    place: server.directory,
    revive: () => lease.ensureRunning(),
    release: async () => {
      await log.close()
      await lease.release()
    },
  }
}

/** A server of your own. The user of the URL must be allowed to create databases. */
export function serverFoundation(url: URL): Foundation {
  const at = (database: string) => ({ connectionString: withDatabase(url, database).href })
  const log = postgresBroker({ ...at(logDatabase), sessionTimeoutMs })
  return {
    optionsFor: (service) => ({ database: postgres(at(databaseOf(service))), broker: log }),
    connectionString: (service) => withoutPassword(withDatabase(url, databaseOf(service))).href,
    maintenance: () => ({ connectionString: url.href }),
    place: `${url.host}${url.pathname}`,
    revive: () => Promise.resolve(),
    release: () => log.close(),
  }
}

function withDatabase(url: URL, database: string): URL {
  const copy = new URL(url)
  copy.pathname = `/${database}`
  return copy
}

function withoutPassword(url: URL): URL {
  const copy = new URL(url)
  copy.password = ''
  return copy
}
