import { TidemarkError } from '../../../errors.ts'
import type { Clock } from '../../../internal/clock.ts'
import { brokerClosed } from '../../../message/broker-error.ts'
import type { API, Connection } from '../client.ts'
import { rootMessage, silenceRemedy } from './connect-error.ts'
import { type ConnectSettings, connect } from './connect.ts'
import { type Node, placeOf } from './node.ts'

export interface HeldConnectionParts {
  readonly to: Node
  readonly lane: string
  readonly settings: ConnectSettings
  readonly clock: Clock
  /** Called once, when it ends or could not be made. */
  readonly ended: (held: HeldConnection) => void
}

/** Of the time that a broker grants to a connection. The rest is for the requests under way. */
const usedShare = 0.85

/** A connection to one broker, from before it is made until it has ended, and what is under way on it. */
export class HeldConnection {
  readonly lane: string
  readonly #parts: HeldConnectionParts
  readonly #ready: Promise<Connection>
  readonly #pending = new Set<(error: TidemarkError) => void>()
  /** Those that wait for the connection to be made included. */
  #calls = 0
  #useUntil = Infinity
  #state: 'in use' | 'retired' | 'ended' = 'in use'
  #hasAnswered = false
  #trouble: string | null = null

  constructor(parts: HeldConnectionParts) {
    this.lane = parts.lane
    this.#parts = parts
    this.#ready = this.#connect()
    this.#ready.catch(() => undefined)
  }

  /** The broker will soon take no requests on it any more. */
  get isWorn(): boolean {
    return this.#parts.clock.elapsed() >= this.#useUntil
  }

  /** See `Connections.call`. */
  async call<Args extends unknown[], Reply>(api: API<Args, Reply>, args: Args, timeoutMs: number): Promise<Reply> {
    this.#calls += 1
    try {
      return await this.#request(await this.#ready, api, args, timeoutMs)
    } finally {
      this.#calls -= 1
      this.#endIfRetired()
    }
  }

  /** Ends it when what is under way has ended. Nothing may be asked of it from here on. */
  retire(): void {
    if (this.#state === 'in use') this.#state = 'retired'
    this.#endIfRetired()
  }

  /** Ends it now; what is under way rejects with the error. */
  end(error: TidemarkError): void {
    if (this.#state === 'ended') return
    this.#state = 'ended'
    this.#parts.ended(this)
    for (const fail of [...this.#pending]) fail(error)
    this.#ready.then(
      ({ socket }) => socket.destroy(),
      () => undefined,
    )
  }

  /** Resolves when a connection that was being made is made or has failed. */
  async settled(): Promise<void> {
    await this.#ready.catch(() => undefined)
  }

  async #connect(): Promise<Connection> {
    const { to, settings, clock } = this.#parts
    try {
      const { connection, grantedMs } = await connect(to, settings)
      if (this.#state === 'ended') {
        connection.socket.destroy()
        throw brokerClosed('broker')
      }
      this.#useUntil = clock.elapsed() + usedShare * grantedMs
      connection.on('error', (error: unknown) => (this.#trouble = rootMessage(error)))
      connection.once('close', () => this.end(this.#broken(this.#trouble ?? 'the connection broke')))
      return connection
    } catch (error) {
      if (this.#state !== 'ended') {
        this.#state = 'ended'
        this.#parts.ended(this)
      }
      throw error
    }
  }

  #request<Args extends unknown[], Reply>(connection: Connection, api: API<Args, Reply>, args: Args, timeoutMs: number): Promise<Reply> {
    return new Promise<Reply>((resolve, reject) => {
      const settle = (how: () => void): void => {
        cancel()
        this.#pending.delete(fail)
        how()
      }
      const fail = (error: TidemarkError): void => settle(() => reject(error))
      // The reply could still come: the connection is given up.
      const giveUp = (error: TidemarkError): void => {
        fail(error)
        this.end(unanswered(this.#parts.to, 'the connection was given up'))
      }
      const cancel = this.#parts.clock.after(timeoutMs, () => giveUp(unanswered(this.#parts.to, 'no reply came in time')))
      this.#pending.add(fail)
      api(connection, ...args, (error: Error | null, reply?: Reply) => {
        if (!this.#pending.has(fail)) return
        if (error !== null && !hasReply<Reply>(error)) return giveUp(this.#broken(rootMessage(error)))
        this.#hasAnswered = true
        settle(() => resolve(error === null ? reply! : error.response))
      })
    })
  }

  #endIfRetired(): void {
    if (this.#state === 'retired' && this.#calls === 0) this.end(brokerClosed('broker'))
  }

  /** One that never said a word may ask for what we do not have. */
  #broken(why: string): TidemarkError {
    return unanswered(this.#parts.to, why, this.#hasAnswered ? undefined : silenceRemedy(this.#parts.settings))
  }
}

function unanswered(to: Node, why: string, remedy?: string): TidemarkError {
  return new TidemarkError('BROKER_UNREACHABLE', `The Kafka broker ${placeOf(to)} did not answer: ${why}.`, {
    details: { broker: placeOf(to) },
    ...(remedy === undefined ? {} : { remedy }),
  })
}

/** The client throws for error codes inside a reply; the reply is with the error. */
function hasReply<Reply>(error: Error): error is Error & { readonly response: Reply } {
  return 'response' in error && typeof error.response === 'object' && error.response !== null
}
