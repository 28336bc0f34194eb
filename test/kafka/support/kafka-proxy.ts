import type { KafkaNode } from '../../../servers/kafka-node.ts'
import { type KafkaCluster, startKafka } from '../../../servers/kafka.ts'
import { FaultProxy, type ProxiedConnection } from '../../support/fault-proxy.ts'
import { KafkaFrames, type RequestHead, readRequestHead } from './kafka-frames.ts'

/** A reply of the broker, whole, before its client gets the end of it. */
export interface PassingReply extends RequestHead {
  /** What follows the correlation id. */
  readonly body: Buffer
}

/**
 * What becomes of a reply. `cut`: it is lost, and the connection breaks. `swallow`: it is lost, and nothing more comes over the connection, which stays
 * open.
 */
export type Fate = 'pass' | 'cut' | 'swallow'

/** A broker of one's own with a proxy before it. */
export async function startProxiedKafka(): Promise<{ readonly cluster: KafkaCluster; readonly proxy: KafkaProxy; stop(): Promise<void> }> {
  const cluster = await startKafka({ proxied: true })
  const proxy = await KafkaProxy.start(cluster.nodes[0]!)
  const stop = async (): Promise<void> => {
    await proxy.close()
    await cluster.stop()
  }
  return { cluster, proxy, stop }
}

/** Stands before one broker of a cluster that was started with `proxied`, and decides of each reply what becomes of it. */
export class KafkaProxy {
  readonly #proxy: FaultProxy
  readonly #node: KafkaNode
  /** @default all pass */
  fateOf: (reply: PassingReply) => Fate = () => 'pass'

  private constructor(proxy: FaultProxy, node: KafkaNode) {
    this.#proxy = proxy
    this.#node = node
    const conversations = new WeakMap<ProxiedConnection, Conversation>()
    const conversationOf = (connection: ProxiedConnection): Conversation => {
      const known = conversations.get(connection) ?? new Conversation()
      conversations.set(connection, known)
      return known
    }
    proxy.rules = {
      toServer: (data, connection) => conversationOf(connection).asked(data),
      toClient: (data, connection) => {
        for (const reply of conversationOf(connection).answered(data)) {
          const fate = this.fateOf(reply)
          if (fate === 'pass') continue
          connection.muteServer()
          if (fate === 'cut') connection.reset()
          return
        }
      },
    }
  }

  static async start(node: KafkaNode): Promise<KafkaProxy> {
    const [host, port] = node.address('PROXIED').split(':')
    return new KafkaProxy(await FaultProxy.start(() => ({ host: host!, port: Number(port) }), node.proxyPort), node)
  }

  /** As `host:port`, for clients. */
  get brokers(): readonly string[] {
    return [`127.0.0.1:${this.#node.proxyPort}`]
  }

  /** Breaks every connection, and lets everything pass from now on. */
  mend(): void {
    this.fateOf = () => 'pass'
    this.#proxy.resetAll()
  }

  close(): Promise<void> {
    return this.#proxy.close()
  }
}

/** The requests of a connection that wait for their replies. */
class Conversation {
  readonly #requests = new KafkaFrames()
  readonly #replies = new KafkaFrames()
  readonly #open = new Map<number, RequestHead>()

  asked(data: Buffer): void {
    for (const head of this.#requests.push(data).map(readRequestHead)) this.#open.set(head.correlationId, head)
  }

  answered(data: Buffer): readonly PassingReply[] {
    return this.#replies.push(data).map((frame) => {
      const correlationId = frame.readInt32BE(0)
      const head = this.#open.get(correlationId) ?? { clientId: '', request: 'other' as const, correlationId }
      this.#open.delete(correlationId)
      return { ...head, body: frame.subarray(4) }
    })
  }
}
