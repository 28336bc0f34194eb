import type { Topic } from '../../../message/port.ts'
import { consumerGroupHeartbeatV0, heartbeatV4, joinGroupV9, leaveGroupV5, syncGroupV5 } from '../client.ts'
import type { Cluster } from '../wire/cluster.ts'
import type { Node } from '../wire/node.ts'
import type { Claimant } from './assignor.ts'
import { decodeAssignment, decodeSubscription, encodeAssignment, encodeSubscription } from './consumer-protocol.ts'
import { rebalanceTimeoutMs } from './group-protocol.ts'
import type { GroupReply, GroupRequest } from './group-request.ts'

/** What is the same in all requests of a membership. */
export interface GroupRequestSettings {
  readonly cluster: Cluster
  readonly group: string
  readonly topics: readonly string[]
  readonly sessionTimeoutMs: number
  readonly drainTimeoutMs: number
  readonly clientId: string
  readonly lane: string
}

/** The name under which Kafka's own clients offer the same way to rebalance, so that a group may have both. */
const assignor = 'cooperative-sticky'
const protocolType = 'consumer'

/** Beyond what the coordinator itself waits for other members. */
const marginMs = 5_000
/** A beat without a reply is no beat: there should be time for another one within the session. */
const longestBeatWaitMs = 5_000
const leaveWaitMs = 3_000

/** Carries requests of a membership to the cluster, on two lanes of its own: what waits for other members does not hold up the heartbeats. */
export class GroupRequests {
  readonly #settings: GroupRequestSettings
  readonly #waitingLane: string

  constructor(settings: GroupRequestSettings) {
    this.#settings = settings
    this.#waitingLane = `${settings.lane} waiting`
  }

  /** Resolves with error codes too. Rejects as `Cluster.call` does, and with `MESSAGE_UNDECODABLE` where an assignment is none. */
  async send(request: GroupRequest): Promise<GroupReply> {
    if (request.api === 'describe') return { api: 'describe', topics: await this.describe(request.names) }
    const coordinator = await this.#settings.cluster.coordinator('group', this.#settings.group)
    switch (request.api) {
      case 'join':
        return this.#join(coordinator, request)
      case 'sync':
        return this.#sync(coordinator, request)
      case 'heartbeat':
        return this.#heartbeat(coordinator, request)
      case 'leave':
        return this.#leave(coordinator, request)
      case 'consumer-heartbeat':
        return this.#consumerHeartbeat(coordinator, request)
    }
  }

  async describe(names: readonly string[]): Promise<readonly Topic[]> {
    const topics = await this.#settings.cluster.describe(names)
    return topics.map(({ name, id, partitions }) => ({ name, id, partitions: partitions.length }))
  }

  forgetCoordinator(): void {
    this.#settings.cluster.forgetCoordinator('group', this.#settings.group)
  }

  /** What waits for other members rejects. */
  dropWaiting(): void {
    this.#settings.cluster.endLane(this.#waitingLane)
  }

  end(): void {
    this.dropWaiting()
    this.#settings.cluster.endLane(this.#settings.lane)
  }

  async #join(to: Node, { memberId, ...subscription }: GroupRequest & { readonly api: 'join' }): Promise<GroupReply> {
    const { cluster, group, sessionTimeoutMs, clientId } = this.#settings
    const protocols = [{ name: assignor, metadata: encodeSubscription(subscription) }]
    const reply = await cluster.call(
      to,
      joinGroupV9.api,
      [group, sessionTimeoutMs, rebalanceTimeoutMs(this.#settings), memberId, null, protocolType, protocols, `joined by ${clientId}`],
      this.#waiting(),
    )
    const leads = reply.errorCode === 0 && reply.leader === reply.memberId && !reply.skipAssignment
    const members = leads ? reply.members.map(claimant) : null
    return { api: 'join', error: reply.errorCode, memberId: reply.memberId ?? '', generation: reply.generationId, members }
  }

  async #sync(to: Node, { memberId, generation, shares }: GroupRequest & { readonly api: 'sync' }): Promise<GroupReply> {
    const { cluster, group } = this.#settings
    const assignments = [...shares].map(([id, partitions]) => ({ memberId: id, assignment: encodeAssignment(partitions) }))
    const reply = await cluster.call(
      to,
      syncGroupV5.api,
      [group, generation, memberId, null, protocolType, assignor, assignments],
      this.#waiting(),
    )
    return { api: 'sync', error: reply.errorCode, partitions: reply.errorCode === 0 ? decodeAssignment(reply.assignment) : [] }
  }

  async #heartbeat(to: Node, { memberId, generation }: GroupRequest & { readonly api: 'heartbeat' }): Promise<GroupReply> {
    const { cluster, group } = this.#settings
    const reply = await cluster.call(to, heartbeatV4.api, [group, generation, memberId, null], this.#beating())
    return { api: 'heartbeat', error: reply.errorCode }
  }

  async #leave(to: Node, { memberId }: GroupRequest & { readonly api: 'leave' }): Promise<GroupReply> {
    const { cluster, group, lane, clientId } = this.#settings
    const members = [{ memberId, groupInstanceId: null, reason: `left by ${clientId}` }]
    const reply = await cluster.call(to, leaveGroupV5.api, [group, members], { lane, timeoutMs: leaveWaitMs })
    return { api: 'leave', error: reply.errorCode }
  }

  async #consumerHeartbeat(
    to: Node,
    { memberId, memberEpoch, owned }: GroupRequest & { readonly api: 'consumer-heartbeat' },
  ): Promise<GroupReply> {
    const { cluster, group, topics } = this.#settings
    const shares = new Map<string, number[]>()
    for (const { topicId, partition } of owned) shares.set(topicId, [...(shares.get(topicId) ?? []), partition])
    const partitions = [...shares].map(([topicId, numbers]) => ({ topicId, partitions: numbers }))
    const timeout = rebalanceTimeoutMs(this.#settings)
    const reply = await cluster.call(
      to,
      consumerGroupHeartbeatV0.api,
      [group, memberId, memberEpoch, null, null, timeout, [...topics], null, null, partitions],
      this.#beating(),
    )
    return {
      api: 'consumer-heartbeat',
      error: reply.errorCode,
      said: reply.errorMessage ?? null,
      memberEpoch: reply.memberEpoch,
      intervalMs: reply.heartbeatIntervalMs,
      assignment: reply.assignment?.topicPartitions ?? null,
    }
  }

  #waiting(): { readonly lane: string; readonly timeoutMs: number } {
    return { lane: this.#waitingLane, timeoutMs: rebalanceTimeoutMs(this.#settings) + marginMs }
  }

  #beating(): { readonly lane: string; readonly timeoutMs: number } {
    return { lane: this.#settings.lane, timeoutMs: Math.max(1_000, Math.min(longestBeatWaitMs, this.#settings.sessionTimeoutMs / 2)) }
  }
}

/** A member whose subscription cannot be read gets nothing, and does not keep the others from getting theirs. */
function claimant({ memberId, metadata }: { readonly memberId: string; readonly metadata: Buffer | null }): Claimant {
  try {
    return { id: memberId, ...decodeSubscription(metadata ?? Buffer.alloc(0)) }
  } catch {
    return { id: memberId, topics: [], owned: [], generation: -1 }
  }
}
