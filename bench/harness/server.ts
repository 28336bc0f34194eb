import pg from 'pg'
import { serverCpuSeconds } from './process-cpu.ts'
import { startServerProcess } from './server-process.ts'

/** The one Postgres server of a bench. Every run gets databases of its own and starts from a checkpoint. */
export interface Server {
  readonly version: string
  readonly settings: Readonly<Record<string, string>>
  /** Makes an empty database and returns its connection string. */
  createDatabase(name: string): Promise<string>
  dropDatabase(name: string): Promise<void>
  /** Runs one statement in a database, on a connection of its own. */
  query<R extends pg.QueryResultRow>(connectionString: string, text: string, parameters?: unknown[]): Promise<R[]>
  /** `vacuum analyze` of the given databases, then a checkpoint, so that no run pays for another's writes. */
  settle(connectionStrings: readonly string[]): Promise<void>
  /** CPU seconds used up to now by the server and all its processes, or `null` where the system does not tell. */
  cpuSeconds(): number | null
  stop(): Promise<void>
}

export async function startServer(): Promise<Server> {
  const server = await startServerProcess()
  const connectionString = (database: string): string => `postgres://postgres@127.0.0.1:${server.port}/${database}`
  const home = connectionString('postgres')
  const [row] = await query<{ server_version: string }>(home, 'show server_version')
  return {
    version: row?.server_version ?? 'unknown',
    settings: server.settings,
    async createDatabase(name) {
      await query(home, `create database ${pg.escapeIdentifier(name)}`)
      return connectionString(name)
    },
    async dropDatabase(name) {
      await query(home, `drop database if exists ${pg.escapeIdentifier(name)} with (force)`)
    },
    query,
    async settle(databases) {
      for (const database of databases) await query(database, 'vacuum analyze')
      await query(home, 'checkpoint')
    },
    cpuSeconds: () => serverCpuSeconds(server.processId),
    stop: server.stop,
  }
}

async function query<R extends pg.QueryResultRow>(connectionString: string, text: string, parameters: unknown[] = []): Promise<R[]> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    return (await client.query<R>(text, parameters)).rows
  } finally {
    await client.end()
  }
}
