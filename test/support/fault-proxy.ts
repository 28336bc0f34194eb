import { type Server, type Socket, connect, createServer } from 'node:net'
import { once } from 'node:events'

/** What the proxy does to a connection, decided for every piece of data that passes. */
export interface FaultRules {
  /** Data from the client to the server, before it is passed on. */
  readonly toServer?: (data: Buffer, connection: ProxiedConnection) => void
  /** Data from the server to the client, before it is passed on. */
  readonly toClient?: (data: Buffer, connection: ProxiedConnection) => void
}

export interface ProxiedConnection {
  /** Nothing of what the server says from now on reaches the client. */
  muteServer(): void
  /** Ends both sides at once, as a broken network does; the server may already have what was passed on. */
  reset(): void
  /** Holds back what the server says for so long. */
  delayServer(ms: number): void
}

/** A TCP proxy on 127.0.0.1 in front of a server, to break connections at chosen moments. */
export class FaultProxy {
  readonly #server: Server
  readonly #connections = new Set<Connection>()
  rules: FaultRules = {}

  private constructor(target: () => { readonly host: string; readonly port: number }) {
    this.#server = createServer((client) => {
      const connection = new Connection(client, connect(target()), () => this.rules)
      this.#connections.add(connection)
      client.on('close', () => this.#connections.delete(connection))
    })
  }

  /** @param port where it listens; any free one without it. */
  static async start(target: () => { readonly host: string; readonly port: number }, port = 0): Promise<FaultProxy> {
    const proxy = new FaultProxy(target)
    proxy.#server.listen(port, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get port(): number {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('The proxy does not listen.')
    return address.port
  }

  /** Breaks every connection. New ones are taken. */
  resetAll(): void {
    for (const connection of this.#connections) connection.reset()
  }

  async close(): Promise<void> {
    this.resetAll()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

class Connection implements ProxiedConnection {
  readonly #client: Socket
  readonly #server: Socket
  #muted = false
  #delayMs = 0

  constructor(client: Socket, server: Socket, rules: () => FaultRules) {
    this.#client = client
    this.#server = server
    client.on('data', (data) => {
      rules().toServer?.(data, this)
      server.write(data)
    })
    server.on('data', (data) => {
      rules().toClient?.(data, this)
      if (this.#muted) return
      if (this.#delayMs === 0) client.write(data)
      else setTimeout(() => client.write(data), this.#delayMs)
    })
    // The end of one side is the end of the other; errors show as that.
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
    }
  }

  muteServer(): void {
    this.#muted = true
  }

  delayServer(ms: number): void {
    this.#delayMs = ms
  }

  reset(): void {
    this.#server.destroy()
    this.#client.resetAndDestroy()
  }
}
