import { Socket } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import pg from 'pg'
import type { Connection } from 'pg'

/** What a client knows of its connection, as far as its type package says so. All of it may be missing on a client that is not `pg`'s own. */
export interface CancellableClient {
  readonly host?: string
  readonly port?: number
  readonly ssl?: boolean | ConnectionOptions
  readonly processID?: number | null
  readonly secretKey?: unknown
  readonly connection?: Pick<Connection, 'stream'>
}

/** Calls of `pg`'s connection that its type package leaves out. */
interface CancelCalls {
  connect(portOrPath: number | string, host?: string): void
  requestSsl(): void
  cancel(processID: number, secretKey: unknown): void
}

/**
 * Asks the server to cancel what a client has under way, on a connection of its own, as the protocol wants it. A server does not notice that a
 * client has gone while it works on a statement or waits for a lock. Resolves to `true` when the server has taken the request, to `false` after
 * `patienceMs` and when it cannot be made. Never rejects, and tells nobody the secret it sends.
 */
export function cancelStatements(client: CancellableClient, patienceMs: number): Promise<boolean> {
  const { host, port, processID, secretKey } = client
  if (host === undefined || port === undefined || typeof processID !== 'number' || !isThere(client, host, port))
    return Promise.resolve(false)
  const ssl = client.ssl ?? false
  const connection = new pg.Connection({ ssl })
  if (!canCancel(connection)) return Promise.resolve(false)
  return new Promise((resolve) => {
    const end = (taken: boolean): void => {
      clearTimeout(timer)
      connection.stream.destroy()
      resolve(taken)
    }
    const timer = setTimeout(end, patienceMs, false)
    const ask = (): void => connection.cancel(processID, secretKey)
    connection.on('connect', () => (ssl === false ? ask() : connection.requestSsl()))
    connection.on('sslconnect', ask)
    // The server answers by closing the connection.
    connection.on('end', () => end(true))
    connection.on('error', () => end(false))
    if (host.startsWith('/')) connection.connect(`${host}/.s.PGSQL.${port}`)
    else connection.connect(port, host)
  })
}

/** Is the client's server where its settings say? One reached by a stream of the user's own may be anywhere. */
function isThere({ connection }: CancellableClient, host: string, port: number): boolean {
  if (host.startsWith('/')) return true
  return connection?.stream instanceof Socket && connection.stream.remotePort === port
}

function canCancel(connection: Connection): connection is Connection & CancelCalls {
  return 'cancel' in connection && 'connect' in connection && 'requestSsl' in connection
}
