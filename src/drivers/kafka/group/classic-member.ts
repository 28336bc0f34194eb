import type { TopicPartition } from '../../../message/port.ts'
import { assign, type Claimant, nameOf } from './assignor.ts'
import { type Due, GroupProtocol, longestBeatMs, type Sent } from './group-protocol.ts'
import type { GroupIdentity } from './group-event.ts'
import type { GroupReply, GroupRequest } from './group-request.ts'

/** Kafka's error codes that are everyday business here. */
const illegalGeneration = 22
const unknownMemberId = 25
const rebalanceInProgress = 27
const memberIdRequired = 79
const fencedInstanceId = 82

/**
 * A member by the classic protocol (join, sync, heartbeat), rebalancing incrementally (KIP-429): it keeps its partitions while the group
 * rebalances, drains only what its new assignment lacks, and joins again after the drain, so that this can be handed out.
 *
 * In each phase the main request is under way or waits to be sent again; heartbeats go on beside it in all of them, from the first generation on.
 */
export class ClassicMember extends GroupProtocol {
  #phase: 'joining' | 'describing' | 'syncing' | 'stable' = 'joining'
  /** From when on the phase's request may be sent. */
  #mainAt = -Infinity
  #memberId = ''
  /** As far as this member has joined; -1 for not at all. */
  #generation = -1
  /** In which the assignment was given that led to what is held. */
  #ownedGeneration = -1
  /** What this member said it owned when it last joined. Others wait for it, until the member joins again and does not say so. */
  #claimed: readonly TopicPartition[] = []
  /** What the group gives. It holds only while stable: once this member asks to join, what it did not claim may be given to others. */
  #target: readonly TopicPartition[] = []
  /** Present in the leader. */
  #members: readonly Claimant[] | null = null
  /** The topics by which the leader shared out the partitions. */
  #sharedBy: string | null = null

  get identity(): GroupIdentity | null {
    return this.#generation < 0 || this.state === 'ended' ? null : { memberId: this.#memberId, generation: this.#generation }
  }

  protected due(): readonly Due[] {
    const due: Due[] = []
    const main = this.#mainRequest()
    if (main !== null) due.push({ slot: 'main', at: this.#mainAt, what: main })
    if (this.#generation >= 0) {
      due.push({
        slot: 'beat',
        at: this.beatAt,
        what: () => ({ api: 'heartbeat', memberId: this.#memberId, generation: this.#generation }),
      })
    }
    return due
  }

  protected replied(reply: GroupReply, sent: Sent): void {
    if (reply.api === 'describe') this.#described()
    else if (reply.api === 'heartbeat') this.#beaten(reply.error, sent)
    else if (reply.api === 'join') this.#joined(reply, sent)
    else if (reply.api === 'sync') this.#synced(reply, sent)
  }

  protected unanswered({ slot, what }: Sent, at: number): void {
    if (slot === 'main') this.#mainAt = at
    if (what.api === 'describe') return
    this.beatAt = at
    // Whether the coordinator still has what waits there, nobody can say.
    if (this.#phase === 'joining' || this.#phase === 'syncing') this.#join(at)
  }

  protected cutOff(): void {
    this.#join(Math.max(this.now, this.#mainAt))
  }

  protected advance(): void {
    if (this.#phase !== 'stable') return
    if (!this.inSession || (this.#members !== null && this.topics.signature(this.watched) !== this.#sharedBy)) return this.#join()
    this.moveTo(this.#target.map((one) => this.topics.byName(one)).filter((one) => one !== null))
    if (this.#waitedFor()) this.#join()
  }

  protected goodbye(): GroupRequest | null {
    return this.#memberId === '' ? null : { api: 'leave', memberId: this.#memberId }
  }

  protected override get watched(): readonly string[] {
    return [...new Set([...this.settings.topics, ...(this.#members ?? []).flatMap(({ topics }) => topics)])]
  }

  #mainRequest(): (() => GroupRequest) | null {
    switch (this.#phase) {
      case 'joining':
        return () => {
          this.#claimed = this.holdings.all()
          // Who is leaving wants nothing more, and takes part only so that the others need not wait for it.
          const topics = this.isLeaving ? [] : this.settings.topics
          return { api: 'join', memberId: this.#memberId, topics, owned: this.#claimed, generation: this.#ownedGeneration }
        }
      case 'describing':
        return () => ({ api: 'describe', names: this.watched })
      case 'syncing':
        return () => {
          this.#sharedBy = this.topics.signature(this.watched)
          const shares = this.#members === null ? new Map() : assign(this.#members, this.topics.partitionCounts(this.watched))
          return { api: 'sync', memberId: this.#memberId, generation: this.#generation, shares }
        }
      case 'stable':
        return null
    }
  }

  /** Joins (again), keeping what is held. */
  #join(at = this.now): void {
    if (this.isUnderWay('main')) {
      this.abandon('main')
      this.do({ do: 'drop' })
    }
    this.#phase = 'joining'
    this.#mainAt = at
  }

  /** The group has gone on without this member, or does not know it any more. */
  #lost(known: boolean): void {
    this.loseAll()
    if (!known) this.#memberId = ''
    this.#generation = this.#ownedGeneration = -1
    this.#join(this.retryAt())
  }

  #joined(reply: GroupReply & { readonly api: 'join' }, sent: Sent): void {
    switch (reply.error) {
      case 0:
        break
      case memberIdRequired:
        this.#memberId = reply.memberId
        this.#mainAt = this.now
        return this.accepted()
      case unknownMemberId:
      case fencedInstanceId:
        return this.#lost(false)
      case illegalGeneration:
        return this.#lost(true)
      case rebalanceInProgress:
        return this.#join(this.retryAt(true))
      default:
        return this.refused(reply.error, sent)
    }
    this.alive(sent)
    this.accepted()
    this.#memberId = reply.memberId
    this.#generation = reply.generation
    this.#members = reply.members
    this.#phase = 'describing'
    this.#mainAt = this.now
    this.beatAt = this.now + this.#beatMs()
  }

  #described(): void {
    if (this.#phase !== 'describing') return
    this.#phase = 'syncing'
    this.#mainAt = this.now
  }

  #synced({ error, partitions }: GroupReply & { readonly api: 'sync' }, sent: Sent): void {
    switch (error) {
      case 0:
        break
      case rebalanceInProgress:
        return this.#join()
      case unknownMemberId:
      case fencedInstanceId:
        return this.#lost(false)
      case illegalGeneration:
        return this.#lost(true)
      default:
        return this.refused(error, sent)
    }
    this.alive(sent)
    this.#phase = 'stable'
    this.#ownedGeneration = this.#generation
    this.#target = partitions
    this.step()
  }

  #beaten(error: number, sent: Sent): void {
    this.beatAt = Math.min(this.beatAt, this.now + this.#beatMs())
    if (sent.what.api !== 'heartbeat' || sent.what.memberId !== this.#memberId) return
    // The generation changed while the beat, or the reply to a join, was on its way.
    const isOld = sent.what.generation !== this.#generation || this.#phase === 'joining'
    switch (error) {
      case 0:
        return this.alive(sent)
      case rebalanceInProgress:
        this.alive(sent)
        return isOld ? undefined : this.#join()
      case illegalGeneration:
        return isOld ? undefined : this.#lost(true)
      case unknownMemberId:
      case fencedInstanceId:
        return this.#lost(false)
      default:
        return this.refused(error, sent)
    }
  }

  /** Has the group withheld from others what this member claimed and does not own any more? Then they wait for its word. */
  #waitedFor(): boolean {
    const owned = new Set(this.holdings.all().map(nameOf))
    const given = new Set(this.#target.map(nameOf))
    return this.#claimed.map(nameOf).some((name) => !owned.has(name) && !given.has(name))
  }

  #beatMs(): number {
    return Math.min(longestBeatMs, this.settings.sessionTimeoutMs / 3)
  }
}
