import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { TidemarkError } from '../../../errors.ts'
import { type Clock, pause } from '../../../internal/clock.ts'
import { type API, apiVersionsV3, findCoordinatorV4, metadataV12 } from '../client.ts'
import type { Sasl } from './log-in.ts'
import { type CallOptions, Connections } from './connections.ts'
import { type Node, bootstrapNode, placeOf } from './node.ts'
import { errorName, protocolError } from './protocol-error.ts'

export interface ClusterSettings {
  readonly brokers: readonly string[]
  readonly clientId: string
  readonly connectTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly tls: TlsOptions | undefined
  readonly sasl: Sasl | undefined
  readonly clock: Clock
}

/** A topic as the cluster has it at the moment. */
export interface ClusterTopic {
  readonly name: string
  readonly id: string
  readonly partitions: readonly ClusterPartition[]
}

export interface ClusterPartition {
  /** `null` while there is none: an election is under way, or its broker is down. */
  readonly leader: Node | null
  readonly leaderEpoch: number
}

const patienceMs = 10_000
const coordinatorMoves: ReadonlySet<string> = new Set(['NOT_COORDINATOR', 'COORDINATOR_NOT_AVAILABLE', 'COORDINATOR_LOAD_IN_PROGRESS'])

/** For a broker's word on a topic that another does not know. Whoever is silent has none. */
const opinionMs = 1_000

type Metadata = Awaited<ReturnType<typeof metadataV12.api.async>>

export type CoordinatorKind = 'group' | 'transaction'

/** The brokers of a cluster: who they are, who leads and coordinates what, and one request at a time to any of them. */
export class Cluster {
  readonly #bootstrap: readonly Node[]
  readonly #connections: Connections
  readonly #clock: Clock
  #nodes: readonly Node[] = []
  readonly #coordinators = new Map<string, Promise<Node>>()
  #versions: Promise<ReadonlyMap<number, { readonly min: number; readonly max: number }>> | null = null

  constructor(settings: ClusterSettings) {
    this.#bootstrap = settings.brokers.map(bootstrapNode)
    if (this.#bootstrap.length === 0) {
      throw new TidemarkError('CONFIG_INVALID', 'A Kafka cluster needs the address of at least one broker.', {
        remedy: "For example kafka({ brokers: ['localhost:9092'] }).",
      })
    }
    this.#clock = settings.clock
    this.#connections = new Connections(settings, settings.requestTimeoutMs, settings.clock)
  }

  /** See `Connections.call`. */
  call<Args extends unknown[], Reply>(to: Node, api: API<Args, Reply>, args: Args, options?: CallOptions): Promise<Reply> {
    return this.#connections.call(to, api, args, options)
  }

  /** The same, of whichever broker answers first: those known to be in the cluster, else the addresses given. */
  async callAny<Args extends unknown[], Reply>(api: API<Args, Reply>, args: Args, options?: CallOptions): Promise<Reply> {
    for (const node of shuffled(this.#nodes)) {
      try {
        return await this.call(node, api, args, options)
      } catch (error) {
        if (!TidemarkError.is(error, 'BROKER_UNREACHABLE')) throw error
      }
    }
    return this.#first(api, args, options)
  }

  endLane(lane: string): void {
    this.#connections.endLane(lane)
  }

  close(): Promise<void> {
    return this.#connections.close()
  }

  /** The node that coordinates a group or a transactional id, remembered until forgotten. */
  coordinator(kind: CoordinatorKind, key: string): Promise<Node> {
    const name = `${kind} ${key}`
    const known = this.#coordinators.get(name)
    if (known !== undefined) return known
    const found = this.#findCoordinator(kind, key)
    this.#coordinators.set(name, found)
    found.catch(() => this.#coordinators.delete(name))
    return found
  }

  /**
   * Asks a coordinator, again for some seconds where it has moved, is loading or cannot be reached. Only for what may be asked twice. `codeOf`
   * finds the error code in the reply; other codes are left to the caller.
   */
  async askCoordinator<Reply>(
    kind: CoordinatorKind,
    key: string,
    ask: (coordinator: Node) => Promise<Reply>,
    codeOf: (reply: Reply) => number,
  ): Promise<Reply> {
    const until = this.#clock.elapsed() + patienceMs
    for (;;) {
      const late = this.#clock.elapsed() >= until
      try {
        const reply = await ask(await this.coordinator(kind, key))
        if (late || !coordinatorMoves.has(errorName(codeOf(reply)))) return reply
      } catch (error) {
        if (late || !TidemarkError.is(error, 'BROKER_UNREACHABLE')) throw error
      }
      this.forgetCoordinator(kind, key)
      await pause(this.#clock, 50)
    }
  }

  forgetCoordinator(kind: CoordinatorKind, key: string): void {
    this.#coordinators.delete(`${kind} ${key}`)
  }

  /** The topics as the cluster has them now, in no order; one that no broker knows is left out. Rejects with `BROKER_AUTHORIZATION`. */
  async describe(names: readonly string[]): Promise<readonly ClusterTopic[]> {
    if (names.length === 0) return []
    const wanted = [...new Set(names)]
    const topics = this.#topicsIn(await this.callAny(metadataV12.api, [wanted, false, false]))
    const missing = wanted.filter((name) => !topics.some((topic) => topic.name === name))
    if (missing.length === 0 || this.#nodes.length < 2) return topics
    // Brokers hear of a new topic one after the other, one that was away last of all; so the word of one of them that there is none is not enough.
    const opinions = await this.describedByEach(missing)
    return [...topics, ...new Map(opinions.map((topic) => [topic.name, topic])).values()]
  }

  /** The topics as each of the brokers has them; one that does not answer has no say. */
  async describedByEach(names: readonly string[]): Promise<readonly ClusterTopic[]> {
    const options = { lane: 'second opinion', timeoutMs: opinionMs }
    const opinions = await Promise.allSettled(
      this.#nodes.map(async (node) => this.#topicsIn(await this.call(node, metadataV12.api, [[...names], false, false], options))),
    )
    return opinions.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
  }

  #topicsIn(reply: Metadata): readonly ClusterTopic[] {
    const nodes = new Map(reply.brokers.map(({ nodeId, host, port }) => [nodeId, { id: nodeId, host, port }]))
    if (nodes.size > 0) this.#nodes = [...nodes.values()]
    const topics: ClusterTopic[] = []
    for (const { errorCode, name, topicId, partitions } of reply.topics) {
      const problem = errorName(errorCode)
      if (problem === 'UNKNOWN_TOPIC_OR_PARTITION' || problem === 'INVALID_TOPIC_EXCEPTION') continue
      if (errorCode !== 0 && problem !== 'LEADER_NOT_AVAILABLE') throw protocolError(errorCode, `to describe the topic "${name}"`)
      const inOrder = partitions.toSorted((a, b) => a.partitionIndex - b.partitionIndex)
      topics.push({
        name: name!,
        id: topicId,
        partitions: inOrder.map(({ leaderId, leaderEpoch }) => ({ leader: nodes.get(leaderId) ?? null, leaderEpoch })),
      })
    }
    return topics
  }

  /** The node that takes changes of topics. A broker that comes back answers before the cluster has let it in: waits some seconds for that. */
  async controller(): Promise<Node> {
    for (const until = this.#clock.elapsed() + patienceMs; ;) {
      const reply = await this.callAny(metadataV12.api, [[], false, false])
      const found = reply.brokers.find(({ nodeId }) => nodeId === reply.controllerId) ?? reply.brokers[0]
      if (found !== undefined) return { id: found.nodeId, host: found.host, port: found.port }
      if (this.#clock.elapsed() >= until) throw new TidemarkError('BROKER_UNREACHABLE', 'The Kafka cluster has no broker at the moment.')
      await pause(this.#clock, 50)
    }
  }

  /** The versions of an API that the brokers speak, or `null`. */
  async versions(apiKey: number): Promise<{ readonly min: number; readonly max: number } | null> {
    this.#versions ??= this.#readVersions()
    return (await this.#versions).get(apiKey) ?? null
  }

  async #readVersions(): Promise<ReadonlyMap<number, { readonly min: number; readonly max: number }>> {
    try {
      const reply = await this.callAny(apiVersionsV3.api, ['tidemark', '1'])
      if (reply.errorCode !== 0) throw protocolError(reply.errorCode, 'to say which API versions it speaks')
      return new Map(reply.apiKeys.map(({ apiKey, minVersion, maxVersion }) => [apiKey, { min: minVersion, max: maxVersion }]))
    } catch (error) {
      this.#versions = null
      throw error
    }
  }

  /** The first one to ask makes the brokers create the topic behind it, which takes them a moment. */
  async #findCoordinator(kind: CoordinatorKind, key: string): Promise<Node> {
    const until = this.#clock.elapsed() + patienceMs
    for (;;) {
      try {
        return await this.#askForCoordinator(kind, key)
      } catch (error) {
        const mayPass = TidemarkError.is(error, 'BROKER_UNREACHABLE') && error.details['kafka'] !== undefined
        if (!mayPass || this.#clock.elapsed() >= until) throw error
        await pause(this.#clock, 50)
      }
    }
  }

  async #askForCoordinator(kind: CoordinatorKind, key: string): Promise<Node> {
    const reply = await this.callAny(findCoordinatorV4.api, [kind === 'group' ? 0 : 1, [key]])
    const found = reply.coordinators[0]
    if (found === undefined)
      throw new TidemarkError('BROKER_UNREACHABLE', `No Kafka broker coordinates the ${kind} "${key}" at the moment.`)
    if (found.errorCode !== 0) throw protocolError(found.errorCode, `to name the coordinator of the ${kind} "${key}"`, found.errorMessage)
    return { id: found.nodeId, host: found.host, port: found.port }
  }

  /** Asks all given addresses at once, so that one that swallows packets does not hold up the others. */
  async #first<Args extends unknown[], Reply>(api: API<Args, Reply>, args: Args, options?: CallOptions): Promise<Reply> {
    try {
      return await Promise.any(this.#bootstrap.map((node) => this.call(node, api, args, options)))
    } catch (error) {
      const errors = error instanceof AggregateError ? error.errors : [error]
      const decisive = errors.find((one: unknown) => TidemarkError.is(one) && !one.retryable)
      if (decisive !== undefined) throw decisive
      const tried = this.#bootstrap.map(placeOf).join(', ')
      const why = [...new Set(errors.map((one: unknown) => (one instanceof Error ? one.message : String(one))))].join(' ')
      throw new TidemarkError('BROKER_UNREACHABLE', `No Kafka broker could be reached; tried ${tried}. ${why}`, { details: { tried } })
    }
  }
}

function shuffled<T>(values: readonly T[]): T[] {
  const order = [...values]
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1))
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  return order
}
