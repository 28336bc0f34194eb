import { FaultProxy } from '../../support/fault-proxy.ts'

/** Kafka's number for the request by which every log-in begins. */
const saslHandshake = 17

/** A listener of a broker, seen from outside: it counts who tries to log in. Who is let in goes on to the broker itself. */
export class LogInProxy {
  /** When each log-in was begun, in milliseconds. */
  readonly begun: number[] = []
  readonly #proxy: FaultProxy

  private constructor(proxy: FaultProxy) {
    this.#proxy = proxy
    proxy.rules = {
      // A client that logs in waits for each reply: requests come one by one.
      toServer: (data) => {
        if (data.length >= 6 && data.readInt16BE(4) === saslHandshake) this.begun.push(performance.now())
      },
    }
  }

  static async start(address: string): Promise<LogInProxy> {
    const [host, port] = address.split(':') as [string, string]
    return new LogInProxy(await FaultProxy.start(() => ({ host, port: Number(port) })))
  }

  get address(): string {
    return `127.0.0.1:${this.#proxy.port}`
  }

  close(): Promise<void> {
    return this.#proxy.close()
  }
}
