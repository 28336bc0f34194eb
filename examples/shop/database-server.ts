import type pg from 'pg'
import { embedded, type PostgresDatabaseOptions } from 'tidemark/postgres'

/** The Postgres server that holds the shop's databases. */
export interface DatabaseServer {
  /** How a driver reaches one of its databases. */
  at(database: string): PostgresDatabaseOptions
  /** The same for people: of the embedded server with its password, else without. */
  connectionString(database: string): string
  /** How to reach the server itself, for work on whole databases. */
  readonly maintenance: () => pg.ClientConfig
  /** Where it is, for people. */
  readonly place: string
  /** Starts the server again if it is ours and has died. */
  revive(): Promise<void>
  /** Ends the hold on the embedded server. */
  release(): Promise<void>
}

/** A server in this project's folder, made and started when needed. Rejects with `EMBEDDED_MISSING` or `EMBEDDED_FAILED`. */
export async function embeddedServer(): Promise<DatabaseServer> {
  const server = embedded()
  const lease = await server.acquire()
  return {
    at: (database) => ({ connection: () => lease.connection(database), revive: () => lease.ensureRunning() }),
    connectionString: (database) => lease.connectionString(database),
    maintenance: () => lease.connection('postgres'),
    place: server.directory,
    revive: () => lease.ensureRunning(),
    release: () => lease.release(),
  }
}

/** A server of your own. The user of the URL must be allowed to create databases. */
export function ownServer(url: URL): DatabaseServer {
  return {
    at: (database) => ({ connectionString: withDatabase(url, database).href }),
    connectionString: (database) => withoutPassword(withDatabase(url, database)).href,
    maintenance: () => ({ connectionString: url.href }),
    place: `${url.host}${url.pathname}`,
    revive: () => Promise.resolve(),
    release: () => Promise.resolve(),
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
