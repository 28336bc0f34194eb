import type { GroupReply, GroupRequest } from '../../../../src/drivers/kafka/group/group-request.ts'
import { balance } from '../../../../src/message/group/balance.ts'
import { partitionKey } from '../../../../src/message/group/group-state.ts'
import type { AssignedPartition } from '../../../../src/message/port.ts'
import type { ModelCoordinator, ModelTimes } from './model-coordinator.ts'
import type { ModelTopics } from './model-topics.ts'
import type { Timeline } from './timeline.ts'

type Heartbeat = GroupRequest & { readonly api: 'consumer-heartbeat' }

interface Member {
  epoch: number
  previousEpoch: number
  assigned: Map<string, AssignedPartition>
  /** Taken away, and still named as owned when last heard of. */
  revoking: Map<string, AssignedPartition>
  expire: () => void
  giveUp: () => void
}

const intervalMs = 1_000

/** The group coordinator of KIP-848, by the rules of Kafka's. */
export class ConsumerCoordinator implements ModelCoordinator {
  readonly #time: Timeline
  readonly #times: ModelTimes
  readonly #topics: ModelTopics
  readonly #names: readonly string[]
  readonly #members = new Map<string, Member>()
  #target = new Map<string, string>()
  #epoch = 0

  constructor(time: Timeline, times: ModelTimes, topics: ModelTopics, names: readonly string[]) {
    this.#time = time
    this.#times = times
    this.#topics = topics
    this.#names = names
    topics.onChange(() => this.#rebalance())
  }

  members(): readonly string[] {
    return [...this.#members.keys()]
  }

  receive(request: GroupRequest, reply: (reply: GroupReply) => void): void {
    if (request.api !== 'consumer-heartbeat') throw new Error(`The consumer coordinator does not know ${request.api}.`)
    reply(this.#beat(request))
  }

  #beat({ memberId, memberEpoch, owned }: Heartbeat): GroupReply {
    if (memberEpoch === -1) {
      this.#remove(memberId)
      return this.#reply(0, -1, null)
    }
    const known = this.#members.get(memberId)
    if (known === undefined && memberEpoch > 0) return this.#reply(25)
    const member = known ?? { epoch: 0, previousEpoch: 0, assigned: new Map(), revoking: new Map(), expire: noop, giveUp: noop }
    const isSubset = owned.every((one) => member.assigned.has(partitionKey(one)))
    if (memberEpoch > member.epoch) return this.#reply(110)
    if (memberEpoch < member.epoch && (memberEpoch !== member.previousEpoch || !isSubset)) return this.#reply(110)
    if (known === undefined) {
      this.#members.set(memberId, member)
      this.#rebalance()
    }
    member.expire()
    member.expire = this.#time.after(this.#times.sessionTimeoutMs, () => this.#remove(memberId))
    this.#reconcile(memberId, member, new Set(owned.map(partitionKey)))
    const shares = new Map<string, number[]>()
    for (const { topicId, partition } of member.assigned.values()) shares.set(topicId, [...(shares.get(topicId) ?? []), partition])
    return this.#reply(
      0,
      member.epoch,
      [...shares].map(([topicId, partitions]) => ({ topicId, partitions })),
    )
  }

  #reconcile(id: string, member: Member, owned: ReadonlySet<string>): void {
    if ([...member.revoking.keys()].some((key) => owned.has(key))) return
    member.revoking.clear()
    member.giveUp()
    const target = new Map(
      this.#partitions().flatMap((one) => (this.#target.get(partitionKey(one)) === id ? [[partitionKey(one), one]] : [])),
    )
    const going = [...member.assigned].filter(([key]) => !target.has(key))
    for (const [key] of going) member.assigned.delete(key)
    if (going.some(([key]) => owned.has(key))) {
      member.revoking = new Map(going)
      member.giveUp = this.#time.after(this.#times.rebalanceTimeoutMs, () => this.#remove(id))
      return
    }
    for (const [key, one] of target) if (!this.#isTaken(key)) member.assigned.set(key, one)
    if (member.epoch === this.#epoch) return
    member.previousEpoch = member.epoch
    member.epoch = this.#epoch
  }

  #isTaken(key: string): boolean {
    return [...this.#members.values()].some(({ assigned, revoking }) => assigned.has(key) || revoking.has(key))
  }

  #remove(id: string): void {
    const member = this.#members.get(id)
    if (member === undefined) return
    member.expire()
    member.giveUp()
    this.#members.delete(id)
    this.#rebalance()
  }

  #rebalance(): void {
    this.#epoch += 1
    const partitions = this.#partitions()
    const before = partitions.map((one) => ({ topic: one.topic, owner: null, target: this.#target.get(partitionKey(one)) ?? null }))
    const targets = balance(
      [...this.#members.keys()].map((id) => ({ id, topics: this.#names })),
      before,
    )
    this.#target = new Map(partitions.flatMap((one, i) => (targets[i] === null ? [] : [[partitionKey(one), targets[i]!]])))
  }

  #partitions(): AssignedPartition[] {
    return this.#topics.partitions(this.#names)
  }

  #reply(
    error: number,
    memberEpoch = 0,
    assignment: (GroupReply & { readonly api: 'consumer-heartbeat' })['assignment'] = null,
  ): GroupReply {
    return { api: 'consumer-heartbeat', error, said: null, memberEpoch, intervalMs, assignment }
  }
}

function noop(): void {
  // Nothing was arranged.
}
