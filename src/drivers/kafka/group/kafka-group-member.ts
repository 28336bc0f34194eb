import { randomUUID } from 'node:crypto'
import { TidemarkError } from '../../../errors.ts'
import { type Clock, pause } from '../../../internal/clock.ts'
import { type Deferred, deferred } from '../../../internal/deferred.ts'
import { brokerClosed, topicUnknown } from '../../../message/broker-error.ts'
import type { AssignedPartition, AssignmentListener } from '../../../message/port.ts'
import { consumerGroupHeartbeatV0 } from '../client.ts'
import type { Cluster } from '../wire/cluster.ts'
import { ClassicMember } from './classic-member.ts'
import { ConsumerMember } from './consumer-member.ts'
import { consumerSessionTimeoutMs } from './consumer-session.ts'
import { consumerProtocolMissing } from './group-error.ts'
import type { GroupCommand, GroupEvent, GroupIdentity } from './group-event.ts'
import { type GroupProtocol, patienceMs } from './group-protocol.ts'
import { GroupRequests } from './group-requests.ts'

export interface KafkaGroupMemberOptions {
  readonly cluster: Cluster
  readonly group: string
  /** One at least. */
  readonly topics: readonly string[]
  /** `classic`: works everywhere. `consumer`: that of KIP-848, from Kafka 4.0 on, where the coordinator shares out the partitions. */
  readonly protocol: 'classic' | 'consumer'
  /** How long a silent member keeps its partitions, in milliseconds. Of no effect in the protocol `consumer`, where it is a setting of the brokers or of the group. */
  readonly sessionTimeoutMs: number
  /** How long `revoked` may take, in milliseconds. */
  readonly drainTimeoutMs: number
  /** Shown to operators: in the broker's log, and in the protocol `consumer` as the beginning of the member's id. */
  readonly clientId: string
  readonly listener: AssignmentListener
  readonly clock: Clock
  /** A name for the membership's own connections that no other membership of the cluster has. */
  readonly lane: string
}

/** A topic that was made a moment ago is not known to all brokers yet. */
const newTopicTriesMs = [100, 300]

/**
 * A member of a Kafka consumer group: carries out what its `GroupProtocol` says, and tells it what came of it. Calls of the listener come one at a
 * time; only `lost` and `failed` come while a `revoked` is under way.
 */
export class KafkaGroupMember {
  readonly #options: KafkaGroupMemberOptions
  #requests: GroupRequests | null = null
  #protocol: GroupProtocol | null = null
  readonly #events: GroupEvent[] = []
  #isAtWork = false
  #cancelTimer: () => void = () => undefined
  #joining: Deferred<void> | null = null
  #isAccepted = false
  #left: Deferred<void> | null = null
  #isOver = false

  constructor(options: KafkaGroupMemberOptions) {
    this.#options = options
  }

  /**
   * Becomes a member; resolves when the group has taken it. Rejects with `TOPIC_UNKNOWN`, `CONFIG_INVALID` (what the brokers do not allow says the
   * message), `BROKER_AUTHORIZATION`, or `BROKER_UNREACHABLE` where no coordinator was found within 30 seconds. Later failures are the listener's.
   */
  async join(): Promise<void> {
    const { group, topics, drainTimeoutMs, clientId, protocol, clock } = this.#options
    await this.#topicsExist()
    const sessionTimeoutMs = protocol === 'classic' ? this.#options.sessionTimeoutMs : await this.#brokersSessionTimeoutMs()
    if (this.#isOver) throw brokerClosed('membership')
    const settings = { group, topics, sessionTimeoutMs, drainTimeoutMs, random: () => clock.random() }
    const now = clock.elapsed()
    this.#requests = new GroupRequests({ ...this.#options, sessionTimeoutMs })
    this.#protocol =
      protocol === 'classic' ? new ClassicMember(settings, now) : new ConsumerMember(settings, now, `${clientId}-${randomUUID()}`)
    this.#joining = deferred()
    this.#happened({ type: 'tick' })
    await this.#joining.promise
  }

  /**
   * Has the listener drain what is held, for `drainTimeoutMs` at the most, then leaves. Never rejects; without a reply from the broker it resolves
   * three seconds after the drain, and the session will expire.
   */
  async leave(): Promise<void> {
    if (this.#isOver) return
    if (this.#protocol === null) return this.end()
    if (this.#left === null) {
      this.#left = deferred()
      this.#happened({ type: 'leave' })
    }
    await this.#left.promise
  }

  /** Ends without a word to anybody, listener included; the session will expire. */
  end(): void {
    this.#isOver = true
    this.#cancelTimer()
    this.#requests?.end()
    // Of no effect once the group has taken the member.
    this.#joining?.reject(brokerClosed('membership'))
    this.#left?.resolve()
  }

  /** Asks the coordinator and looks at the topics now, because something has changed elsewhere. */
  poke(): void {
    if (this.#protocol !== null) this.#happened({ type: 'poke' })
  }

  /** For requests in the member's name; `null` while it has none. */
  identity(): GroupIdentity | null {
    return this.#isOver ? null : (this.#protocol?.identity ?? null)
  }

  async #brokersSessionTimeoutMs(): Promise<number> {
    const { cluster, group, clock } = this.#options
    const { key, version } = consumerGroupHeartbeatV0.api
    const versions = await cluster.versions(key)
    if (versions === null || versions.min > version) throw consumerProtocolMissing('The brokers do not take its heartbeats.')
    for (const until = clock.elapsed() + patienceMs; ;) {
      try {
        return await consumerSessionTimeoutMs(cluster, group)
      } catch (error) {
        if (!(TidemarkError.is(error) && error.retryable && clock.elapsed() < until && !this.#isOver)) throw error
        await pause(clock, 300)
      }
    }
  }

  async #topicsExist(): Promise<void> {
    const { cluster, topics, clock } = this.#options
    for (const waitMs of [...newTopicTriesMs, null]) {
      const found = new Set((await cluster.describe(topics)).map(({ name }) => name))
      const missing = topics.find((name) => !found.has(name))
      if (missing === undefined) return
      if (waitMs === null) throw topicUnknown(missing)
      await pause(clock, waitMs)
    }
  }

  /** One event after the other, also those that come while an earlier one is worked off. */
  #happened(event: GroupEvent): void {
    if (this.#isOver) return
    this.#events.push(event)
    if (this.#isAtWork) return
    this.#isAtWork = true
    for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) {
      for (const command of this.#protocol!.on(next, this.#options.clock.elapsed())) if (!this.#isOver) this.#carryOut(command)
    }
    this.#isAtWork = false
    this.#schedule()
  }

  #schedule(): void {
    this.#cancelTimer()
    const at = this.#protocol!.wakeAt
    if (this.#isOver || at === Infinity) return
    const { clock } = this.#options
    this.#cancelTimer = clock.after(Math.max(0, at - clock.elapsed()), () => this.#happened({ type: 'tick' }))
  }

  #carryOut(command: GroupCommand): void {
    const { listener } = this.#options
    switch (command.do) {
      case 'send':
        return this.#send(command)
      case 'forget coordinator':
        return this.#requests!.forgetCoordinator()
      case 'drop':
        return this.#requests!.dropWaiting()
      case 'accepted':
        this.#isAccepted = true
        return this.#joining!.resolve()
      case 'assigned':
        return tell(() => listener.assigned(command.partitions))
      case 'lost':
        return tell(() => listener.lost(command.partitions))
      case 'revoke':
        return this.#drain(command)
      case 'failed':
        return this.#fail(command.error)
      case 'left':
        return this.end()
    }
  }

  #send({ request, what }: GroupCommand & { readonly do: 'send' }): void {
    this.#requests!.send(what).then(
      (reply) => this.#happened({ type: 'reply', request, reply }),
      (error: unknown) => this.#happened({ type: 'rejected', request, error }),
    )
  }

  #drain({ drain, partitions }: { readonly drain: number; readonly partitions: readonly AssignedPartition[] }): void {
    const revoked = async (): Promise<void> => this.#options.listener.revoked(partitions)
    void revoked()
      // The partitions go all the same.
      .catch(() => undefined)
      .then(() => this.#happened({ type: 'drained', drain }))
  }

  #fail(error: unknown): void {
    const { listener } = this.#options
    if (this.#isAccepted) tell(() => listener.failed(error))
    else this.#joining!.reject(error)
    this.end()
  }
}

function tell(call: () => void): void {
  try {
    call()
  } catch {
    // The listener's own affair: the group goes on.
  }
}
