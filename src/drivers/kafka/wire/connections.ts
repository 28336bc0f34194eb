import type { Clock } from '../../../internal/clock.ts'
import { brokerClosed } from '../../../message/broker-error.ts'
import type { API } from '../client.ts'
import type { ConnectSettings } from './connect.ts'
import { HeldConnection } from './held-connection.ts'
import { type Node, placeOf } from './node.ts'

export interface CallOptions {
  /** Requests of one lane to one node wait for each other in the broker; what waits long has a lane of its own. @default 'main' */
  readonly lane?: string
  /** @default the connections' own */
  readonly timeoutMs?: number
}

/**
 * One connection for each lane and broker, made when it is first needed, and again after it broke. One that the broker grants for a time only is replaced
 * before that is over, when what is under way on it has ended.
 */
export class Connections {
  readonly #settings: ConnectSettings
  readonly #requestTimeoutMs: number
  readonly #clock: Clock
  /** Those that take calls, by lane and broker. */
  readonly #current = new Map<string, HeldConnection>()
  readonly #all = new Set<HeldConnection>()
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
    return this.#get(to, options.lane ?? 'main').call(api, args, options.timeoutMs ?? this.#requestTimeoutMs)
  }

  /** Ends the connections of a lane; what is under way on them rejects. */
  endLane(lane: string): void {
    for (const held of [...this.#all]) if (held.lane === lane) held.end(brokerClosed('broker'))
  }

  /** Ends all of them, for good. */
  async close(): Promise<void> {
    this.#closed = true
    const all = [...this.#all]
    for (const held of all) held.end(brokerClosed('broker'))
    await Promise.all(all.map((held) => held.settled()))
  }

  #get(to: Node, lane: string): HeldConnection {
    if (this.#closed) throw brokerClosed('broker')
    const name = `${lane} ${placeOf(to)}`
    const known = this.#current.get(name)
    if (known !== undefined && !known.isWorn) return known
    const ended = (held: HeldConnection): void => {
      this.#all.delete(held)
      // An older one may end after its successor was begun.
      if (this.#current.get(name) === held) this.#current.delete(name)
    }
    const held = new HeldConnection({ to, lane, settings: this.#settings, clock: this.#clock, ended })
    this.#current.set(name, held)
    this.#all.add(held)
    known?.retire()
    return held
  }
}
