import { TidemarkError } from '../../../errors.ts'
import type { Clock } from '../../../internal/clock.ts'
import { brokerClosed } from '../../../message/broker-error.ts'
import type { API, Connection } from '../client.ts'
import { type ConnectSettings, connect, rootMessage } from './connect.ts'
import { type Node, placeOf } from './node.ts'

export interface CallOptions {
  /** Requests of one lane to one node wait for each other in the broker; what waits long has a lane of its own. @default 'main' */
  readonly lane?: string
  /** @default the connections' own */
  readonly timeoutMs?: number
}

interface Held {
  readonly lane: string
  readonly ready: Promise<Connection>
  /** What is under way, to be ended with the connection. */
  readonly pending: Set<(error: TidemarkError) => void>
}

/** One connection for each lane and broker, made when it is first needed, and again after it broke. */
export class Connections {
  readonly #settings: ConnectSettings
  readonly #requestTimeoutMs: number
  readonly #clock: Clock
  readonly #held = new Map<string, Held>()
  #closed = false

  constructor(settings: ConnectSettings, requestTimeoutMs: number, clock: Clock) {
    this.#settings = settings
    this.#requestTimeoutMs = requestTimeoutMs
    this.#clock = clock
  }

  /**
   * One request and its reply. A reply that carries error codes resolves, the caller looks at them. Rejects with `BROKER_UNREACHABLE` when there is
   * no connection, it breaks, or no reply came in time: the request may have been carried out, and the connection is given up, since the reply could
   * still come.
   */
  async call<Args extends unknown[], Reply>(to: Node, api: API<Args, Reply>, args: Args, options: CallOptions = {}): Promise<Reply> {
    const held = this.#get(to, options.lane ?? 'main')
    const connection = await held.ready
    return new Promise<Reply>((resolve, reject) => {
      const end = (settle: () => void): void => {
        cancel()
        held.pending.delete(fail)
        settle()
      }
      const fail = (error: TidemarkError): void => end(() => reject(error))
      const cancel = this.#clock.after(options.timeoutMs ?? this.#requestTimeoutMs, () => {
        fail(unanswered(to, 'no reply came in time'))
        this.#drop(to, held)
      })
      held.pending.add(fail)
      api(connection, ...args, (error: Error | null, reply?: Reply) => {
        if (!held.pending.has(fail)) return
        if (error === null) return end(() => resolve(reply!))
        if (hasReply<Reply>(error)) return end(() => resolve(error.response))
        fail(unanswered(to, rootMessage(error)))
        this.#drop(to, held)
      })
    })
  }

  /** Ends the connections of a lane; what is under way on them rejects. */
  endLane(lane: string): void {
    for (const [name, held] of this.#held) if (held.lane === lane) this.#end(name, held, brokerClosed('broker'))
  }

  /** Ends all of them, for good. */
  async close(): Promise<void> {
    this.#closed = true
    const ended = [...this.#held.values()].map(({ ready }) => ready.catch(() => undefined))
    for (const [name, held] of this.#held) this.#end(name, held, brokerClosed('broker'))
    await Promise.all(ended)
  }

  #get(to: Node, lane: string): Held {
    if (this.#closed) throw brokerClosed('broker')
    const name = nameOf(to, lane)
    const known = this.#held.get(name)
    if (known !== undefined) return known
    const isCurrent = (): boolean => this.#held.get(name) === held
    const held: Held = { lane, ready: this.#connect(to, name, isCurrent), pending: new Set() }
    held.ready.catch(() => undefined)
    this.#held.set(name, held)
    return held
  }

  /** `isCurrent`: is this still the connection of that name? An older one may end after its successor was begun. */
  async #connect(to: Node, name: string, isCurrent: () => boolean): Promise<Connection> {
    try {
      const connection = await connect(to, this.#settings)
      // Ended while it was being made.
      if (this.#closed || !isCurrent()) {
        connection.socket.destroy()
        throw brokerClosed('broker')
      }
      connection.once('close', () => {
        if (isCurrent()) this.#drop(to, this.#held.get(name)!)
      })
      return connection
    } catch (error) {
      if (isCurrent()) this.#held.delete(name)
      throw error
    }
  }

  #drop(to: Node, held: Held): void {
    const name = nameOf(to, held.lane)
    if (this.#held.get(name) === held) this.#end(name, held, unanswered(to, 'the connection broke'))
  }

  #end(name: string, held: Held, error: TidemarkError): void {
    this.#held.delete(name)
    for (const fail of [...held.pending]) fail(error)
    held.ready.then(
      (connection) => connection.socket.destroy(),
      () => undefined,
    )
  }
}

function nameOf(node: Node, lane: string): string {
  return `${lane} ${placeOf(node)}`
}

function unanswered(to: Node, why: string): TidemarkError {
  return new TidemarkError('BROKER_UNREACHABLE', `The Kafka broker ${placeOf(to)} did not answer: ${why}.`, {
    details: { broker: placeOf(to) },
  })
}

/** The client throws for error codes inside a reply; the reply is with the error. */
function hasReply<Reply>(error: Error): error is Error & { readonly response: Reply } {
  return 'response' in error && typeof error.response === 'object' && error.response !== null
}
