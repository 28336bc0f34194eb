import type { Socket } from 'node:net'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { type Connection, KafkaConnection } from '../client.ts'
import { connectError } from './connect-error.ts'
import { LogIn, type Sasl } from './log-in.ts'
import type { Node } from './node.ts'

export interface ConnectSettings {
  readonly clientId: string
  readonly connectTimeoutMs: number
  readonly tls: TlsOptions | undefined
  readonly sasl: Sasl | undefined
}

/** A connection that takes requests. */
export interface Connected {
  readonly connection: Connection
  /** How long it does, in milliseconds from now. */
  readonly grantedMs: number
}

/** Times are kept per request by the caller; the client's own limit, which leaves a connection unusable, must never be reached. */
const never = 2 ** 31 - 1

/**
 * A connection that is ready, logged in if need be. Rejects with `BROKER_UNREACHABLE`; with `BROKER_AUTHENTICATION` or `CONFIG_INVALID`, which
 * trying again does not mend.
 */
export async function connect(to: Node, settings: ConnectSettings): Promise<Connected> {
  const { tls, sasl, connectTimeoutMs } = settings
  const logIn = sasl === undefined ? null : new LogIn(sasl)
  const connection = new KafkaConnection(settings.clientId, {
    connectTimeout: connectTimeoutMs,
    requestTimeout: never,
    ...(tls === undefined ? {} : { tls, tlsServerName: tls.servername ?? (isAddress(to.host) ? false : to.host) }),
    ...(logIn === null ? {} : { sasl: logIn.options }),
  })
  // Errors after the connect are learnt by the requests under way; without a listener they would end the process.
  connection.on('error', () => undefined)
  try {
    await connection.connect(to.host, to.port)
    return { connection, grantedMs: logIn?.grantedMs ?? Infinity }
  } catch (cause) {
    destroySocket(connection)
    throw connectError(to, cause, settings)
  }
}

/** A connection whose making failed at the start has no socket, whatever its type says. */
function destroySocket({ socket }: { readonly socket?: Socket }): void {
  socket?.destroy()
}

function isAddress(host: string): boolean {
  return host.includes(':') || /^\d+\.\d+\.\d+\.\d+$/.test(host)
}
