import type { Socket } from 'node:net'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { TidemarkError } from '../../../errors.ts'
import { type Connection, KafkaConnection, type SASLOptions } from '../client.ts'
import { type Node, placeOf } from './node.ts'

/** A text, or what gives it when it is needed: a secret that rotates. */
export type Secret = string | (() => string | Promise<string>)

/** How to log in to the brokers. Secrets never reach an error or a log. */
export type Sasl =
  | { readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'; readonly username: Secret; readonly password: Secret }
  | { readonly mechanism: 'OAUTHBEARER'; readonly token: Secret; readonly extensions?: Readonly<Record<string, string>> }

export interface ConnectSettings {
  readonly clientId: string
  readonly connectTimeoutMs: number
  readonly tls: TlsOptions | undefined
  readonly sasl: Sasl | undefined
}

/** Times are kept per request by the caller; the client's own limit, which leaves a connection unusable, must never be reached. */
const never = 2 ** 31 - 1

/**
 * A connection that is ready, logged in if need be. Rejects with `BROKER_UNREACHABLE`, or with `BROKER_AUTHENTICATION`, which trying again does
 * not mend.
 */
export async function connect(to: Node, settings: ConnectSettings): Promise<Connection> {
  const { tls, sasl, connectTimeoutMs } = settings
  const connection = new KafkaConnection(settings.clientId, {
    connectTimeout: connectTimeoutMs,
    requestTimeout: never,
    ...(tls === undefined ? {} : { tls, tlsServerName: tls.servername ?? (isAddress(to.host) ? false : to.host) }),
    ...(sasl === undefined ? {} : { sasl: clientSasl(sasl) }),
  })
  // Errors after the connect are learnt by the requests under way; without a listener they would end the process.
  connection.on('error', () => undefined)
  try {
    await connection.connect(to.host, to.port)
    return connection
  } catch (cause) {
    destroySocket(connection)
    throw connectError(to, cause, sasl)
  }
}

/** A connection whose making failed at the start has no socket, whatever its type says. */
function destroySocket({ socket }: { readonly socket?: Socket }): void {
  socket?.destroy()
}

function clientSasl(sasl: Sasl): SASLOptions {
  if (sasl.mechanism !== 'OAUTHBEARER') return { ...sasl }
  const { mechanism, token, extensions } = sasl
  return { mechanism, token, ...(extensions === undefined ? {} : { oauthBearerExtensions: { ...extensions } }) }
}

function connectError(to: Node, cause: unknown, sasl: Sasl | undefined): TidemarkError {
  const place = placeOf(to)
  if (sasl !== undefined && saysAuthentication(cause)) {
    return new TidemarkError('BROKER_AUTHENTICATION', `The Kafka broker ${place} refused the log-in by ${sasl.mechanism}.`, {
      details: { broker: place, mechanism: sasl.mechanism },
      remedy: 'Check user, password or token, and that the broker offers this mechanism on this port.',
    })
  }
  return new TidemarkError('BROKER_UNREACHABLE', `The Kafka broker ${place} could not be reached: ${rootMessage(cause)}.`, {
    details: { broker: place },
    cause,
  })
}

function saysAuthentication(error: unknown): boolean {
  for (let one = error; one instanceof Error; one = one.cause) {
    if ('code' in one && one.code === 'PLT_KFK_AUTHENTICATION') return true
  }
  return false
}

/** The innermost cause says what the system saw: `connect ECONNREFUSED …`. */
export function rootMessage(error: unknown): string {
  let last = error
  while (last instanceof Error && last.cause instanceof Error) last = last.cause
  return last instanceof Error ? last.message.replace(/\.$/, '') : String(last)
}

function isAddress(host: string): boolean {
  return host.includes(':') || /^\d+\.\d+\.\d+\.\d+$/.test(host)
}
