import { partitionKey } from '../../../message/group/group-state.ts'
import { type Due, GroupProtocol, type GroupSettings, longestBeatMs, type Sent } from './group-protocol.ts'
import type { GroupIdentity } from './group-event.ts'
import type { GroupReply, GroupRequest, TopicShare } from './group-request.ts'

/** Kafka's error codes that are everyday business here. */
const unknownMemberId = 25
const groupIdNotFound = 69
const fencedMemberEpoch = 110

/** With these a member joins and leaves. */
const joiningEpoch = 0
const leavingEpoch = -1

/** After something has moved, more is likely to move: the partitions that other members give up. */
const movingMs = 10_000
/** A topic that the coordinator knows and the asked broker does not yet. */
const unknownTopicMs = 300

/**
 * A member by the consumer protocol of KIP-848: the coordinator shares out the partitions and tells each member in the replies to its heartbeats
 * what it is to have; a member that lacks a partition in its heartbeat has given it up.
 *
 * Every heartbeat names all that is owned. So each reply says the whole assignment, and a lost one is made good by the next.
 */
export class ConsumerMember extends GroupProtocol {
  readonly #memberId: string
  #epoch = joiningEpoch
  #intervalMs = longestBeatMs
  #movingUntil = -Infinity
  /** As the coordinator said it last. */
  #assignment: readonly TopicShare[] = []
  /** May it be acted upon? Not while a heartbeat is under way or its reply lost: what that one did not name may be given to others. */
  #isCurrent = false
  /** What the last heartbeat named as owned. */
  #named: readonly string[] = []
  #hasAsked = false

  /** `memberId` is the member's own choice, so that joining again after a lost reply does not make a second one. */
  constructor(settings: GroupSettings, now: number, memberId: string) {
    super(settings, now)
    this.#memberId = memberId
  }

  get identity(): GroupIdentity | null {
    return this.#epoch <= 0 || this.state === 'ended' ? null : { memberId: this.#memberId, generation: this.#epoch }
  }

  protected due(): readonly Due[] {
    return [{ slot: 'beat', at: this.beatAt, what: () => this.#beat() }]
  }

  protected replied(reply: GroupReply, sent: Sent): void {
    if (reply.api !== 'consumer-heartbeat' || sent.what.api !== 'consumer-heartbeat') return
    if (sent.what.memberEpoch === leavingEpoch) {
      this.#epoch = joiningEpoch
      this.beatAt = this.now
      return
    }
    switch (reply.error) {
      case 0:
        return this.#beaten(reply, sent)
      case fencedMemberEpoch:
        // The coordinator may still have the member, and would refuse it with epoch 0 then: it leaves first.
        return this.#lost(leavingEpoch)
      case unknownMemberId:
        return this.#lost(joiningEpoch)
      case groupIdNotFound:
        return sent.what.memberEpoch > 0 ? this.#lost(joiningEpoch) : this.refused(reply.error, sent, reply.said)
      default:
        return this.refused(reply.error, sent, reply.said)
    }
  }

  protected unanswered(_sent: Sent, at: number): void {
    this.beatAt = at
  }

  /** The epoch stays: the next heartbeat names nothing as owned, and if the coordinator still knows the member, it starts from there. */
  protected cutOff(): void {
    this.#isCurrent = false
  }

  protected advance(): void {
    if (this.#isCurrent && this.inSession) {
      const target = this.#assignment.flatMap(({ topicId, partitions }) => partitions.map((one) => this.topics.byId(topicId, one)))
      if (target.includes(null)) this.checkAt = this.now + unknownTopicMs
      this.moveTo(target.filter((one) => one !== null))
    }
    // What was given up is waited for by others.
    const owned = new Set(this.holdings.all().map(partitionKey))
    if (this.#named.some((key) => !owned.has(key))) this.beatAt = this.now
  }

  protected goodbye(): GroupRequest | null {
    return this.#hasAsked ? this.#request(leavingEpoch) : null
  }

  #request(memberEpoch: number): GroupRequest {
    // Who joins or leaves owns nothing.
    return { api: 'consumer-heartbeat', memberId: this.#memberId, memberEpoch, owned: memberEpoch > 0 ? this.holdings.all() : [] }
  }

  #beat(): GroupRequest {
    this.#isCurrent = false
    this.#hasAsked = true
    this.#named = this.holdings.all().map(partitionKey)
    return this.#request(this.#epoch)
  }

  #beaten(reply: GroupReply & { readonly api: 'consumer-heartbeat' }, sent: Sent): void {
    this.alive(sent)
    this.accepted()
    this.#epoch = reply.memberEpoch
    this.#intervalMs = reply.intervalMs
    if (reply.assignment !== null) this.#assignment = reply.assignment
    this.#isCurrent = true
    if (!this.isLeaving && !this.#isReached()) {
      this.#movingUntil = this.now + movingMs
      // First a look at the topics: what is gone was lost, and is not to be drained.
      this.checkAt = this.now
    }
    this.beatAt = Math.min(this.beatAt, this.now + this.#beatMs())
  }

  /** Everything is lost; the membership begins anew. */
  #lost(epoch: number): void {
    this.loseAll()
    this.#assignment = []
    this.#epoch = epoch
    this.beatAt = this.retryAt()
  }

  #isReached(): boolean {
    // After a drain comes the next step anyway.
    if (this.holdings.drainUntil < Infinity) return true
    const owned = new Set(this.holdings.all().map(partitionKey))
    const given = this.#assignment.flatMap(({ topicId, partitions }) => partitions.map((partition) => partitionKey({ topicId, partition })))
    return given.length === owned.size && given.every((key) => owned.has(key))
  }

  #beatMs(): number {
    const quiet = Math.min(this.#intervalMs, this.settings.sessionTimeoutMs / 3)
    return this.now < this.#movingUntil ? Math.min(quiet, longestBeatMs) : quiet
  }
}
