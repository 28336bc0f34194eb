import pg from 'pg'
import type { ConnectionSettings } from '../database.ts'

/** Where an embedded server listens, as `pg` takes it. */
export interface EmbeddedConnection extends ConnectionSettings {
  readonly password: string
  /** The server listens on 127.0.0.1 only; said aloud so that a `PGSSLMODE` of the environment does not apply. */
  readonly ssl: false
}

/** The database that always exists, for work on the others. */
export const maintenanceDatabase = 'postgres'

export function connectionTo(port: number, password: string, database: string): EmbeddedConnection {
  return { host: '127.0.0.1', port, user: 'postgres', password, database, ssl: false }
}

/** The same as a URL, with the password. */
export function connectionUrl(connection: EmbeddedConnection): string {
  const { host, port, user, password, database } = connection
  return `postgresql://${encodeURIComponent(user)}:${encodeURIComponent(password)}@${host}:${port}/${encodeURIComponent(database)}`
}

/** Long for a server on this machine: one that takes longer is suspended, or the machine is overloaded. */
const connectTimeoutMs = 5_000

/** Runs `work` on a connection of its own. */
export async function onConnection<T>(
  connection: EmbeddedConnection,
  work: (client: pg.Client) => Promise<T>,
  connectionTimeoutMillis = connectTimeoutMs,
): Promise<T> {
  const client = new pg.Client({ ...connection, connectionTimeoutMillis, application_name: 'tidemark embedded' })
  // A connection that breaks while idle must not end the process; the next query on it rejects.
  client.on('error', () => undefined)
  try {
    await client.connect()
    return await work(client)
  } finally {
    await client.end().catch(() => undefined)
  }
}

/**
 * Asks a server whether it is ours: SCRAM proves to both sides that the other knows the password.
 * `busy` is one that lives but takes nobody now: it starts, recovers, stops, or has all its connections given away.
 */
export async function probe(
  connection: EmbeddedConnection,
  patienceMs = connectTimeoutMs,
): Promise<'answers' | 'busy' | 'refuses' | 'gone'> {
  try {
    await onConnection(connection, (client) => client.query('select 1'), Math.min(patienceMs, connectTimeoutMs))
    return 'answers'
  } catch (error) {
    const { code } = error as { code?: string }
    // 57P03 cannot_connect_now, 53300 too_many_connections
    if (code === '57P03' || code === '53300') return 'busy'
    return /^28/.test(code ?? '') ? 'refuses' : 'gone'
  }
}
