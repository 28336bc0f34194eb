import type { Claimant } from '../../../../src/drivers/kafka/group/assignor.ts'
import type { GroupReply, GroupRequest } from '../../../../src/drivers/kafka/group/group-request.ts'
import type { TopicPartition } from '../../../../src/message/port.ts'
import type { ModelCoordinator, ModelTimes } from './model-coordinator.ts'
import type { Timeline } from './timeline.ts'

type Reply = (reply: GroupReply) => void
type Join = GroupRequest & { readonly api: 'join' }
type Sync = GroupRequest & { readonly api: 'sync' }

interface Member {
  metadata: Claimant
  joining: Reply | null
  syncing: Reply | null
  share: readonly TopicPartition[]
  expire: () => void
}

/** The group coordinator of the classic protocol, by the rules of Kafka's. */
export class ClassicCoordinator implements ModelCoordinator {
  readonly #time: Timeline
  readonly #times: ModelTimes
  readonly #members = new Map<string, Member>()
  readonly #pending = new Map<string, () => void>()
  #state: 'empty' | 'preparing' | 'completing' | 'stable' = 'empty'
  #generation = 0
  #leader: string | null = null
  #ids = 0
  #deadline: () => void = () => undefined

  constructor(time: Timeline, times: ModelTimes) {
    this.#time = time
    this.#times = times
  }

  members(): readonly string[] {
    return [...this.#members.keys(), ...this.#pending.keys()]
  }

  receive(request: GroupRequest, reply: Reply): void {
    switch (request.api) {
      case 'join':
        return this.#join(request, reply)
      case 'sync':
        return this.#sync(request, reply)
      case 'heartbeat':
        return reply({ api: 'heartbeat', error: this.#heartbeat(request.memberId, request.generation) })
      case 'leave': {
        const known = this.#members.has(request.memberId)
        this.#remove(request.memberId)
        return reply({ api: 'leave', error: known ? 0 : 25 })
      }
      default:
        throw new Error(`The classic coordinator does not know ${request.api}.`)
    }
  }

  #join({ memberId, topics, owned, generation }: Join, reply: Reply): void {
    if (memberId === '') {
      const id = `m${(this.#ids += 1)}`
      this.#pending.set(
        id,
        this.#time.after(this.#times.sessionTimeoutMs, () => this.#remove(id)),
      )
      return reply(joinReply(79, id))
    }
    const metadata: Claimant = { id: memberId, topics, owned, generation }
    const known = this.#members.get(memberId)
    if (known === undefined) {
      const end = this.#pending.get(memberId)
      if (end === undefined) return reply(joinReply(25, memberId))
      end()
      this.#pending.delete(memberId)
      this.#members.set(memberId, { metadata, joining: reply, syncing: null, share: [], expire: () => undefined })
      this.#heard(memberId)
      return this.#prepare()
    }
    this.#heard(memberId)
    const same = JSON.stringify(known.metadata) === JSON.stringify(metadata)
    if (this.#state !== 'preparing' && same && (this.#state === 'completing' || memberId !== this.#leader)) {
      return reply(this.#joined(memberId))
    }
    known.metadata = metadata
    known.joining = reply
    this.#prepare()
  }

  #sync({ memberId, generation, shares }: Sync, reply: Reply): void {
    const member = this.#members.get(memberId)
    const refuse = (error: number): void => reply({ api: 'sync', error, partitions: [] })
    if (member === undefined) return refuse(25)
    if (generation !== this.#generation) return refuse(22)
    if (this.#state === 'preparing') return refuse(27)
    this.#heard(memberId)
    if (this.#state === 'stable') return reply({ api: 'sync', error: 0, partitions: member.share })
    member.syncing = reply
    if (memberId !== this.#leader) return
    this.#state = 'stable'
    for (const [id, one] of this.#members) {
      one.share = shares.get(id) ?? []
      one.syncing?.({ api: 'sync', error: 0, partitions: one.share })
      if (one.syncing !== null) this.#heard(id)
      one.syncing = null
    }
  }

  #heartbeat(memberId: string, generation: number): number {
    if (!this.#members.has(memberId)) return 25
    if (generation !== this.#generation) return 22
    this.#heard(memberId)
    return this.#state === 'preparing' ? 27 : 0
  }

  #prepare(): void {
    if (this.#state !== 'preparing') {
      for (const member of this.#members.values()) {
        member.syncing?.({ api: 'sync', error: 27, partitions: [] })
        member.syncing = null
      }
      this.#state = 'preparing'
      this.#deadline()
      this.#deadline = this.#time.after(this.#times.rebalanceTimeoutMs, () => this.#complete())
    }
    this.#completeIfAllJoined()
  }

  #completeIfAllJoined(): void {
    if (this.#pending.size === 0 && [...this.#members.values()].every(({ joining }) => joining !== null)) this.#complete()
  }

  #complete(): void {
    this.#deadline()
    for (const [id, member] of this.#members) {
      if (member.joining !== null) continue
      member.expire()
      this.#members.delete(id)
    }
    this.#generation += 1
    this.#state = this.#members.size === 0 ? 'empty' : 'completing'
    if (this.#leader === null || !this.#members.has(this.#leader)) this.#leader = [...this.#members.keys()][0] ?? null
    for (const [id, member] of this.#members) {
      member.joining!(this.#joined(id))
      member.joining = null
      this.#heard(id)
    }
    const generation = this.#generation
    this.#deadline = this.#time.after(this.#times.rebalanceTimeoutMs, () => {
      if (this.#state !== 'completing' || this.#generation !== generation) return
      for (const [id, { syncing }] of this.#members) if (syncing === null) this.#remove(id)
    })
  }

  #joined(id: string): GroupReply {
    const members = id === this.#leader ? [...this.#members.values()].map(({ metadata }) => metadata) : null
    return { ...joinReply(0, id), generation: this.#generation, members }
  }

  #heard(id: string): void {
    const member = this.#members.get(id)!
    member.expire()
    member.expire = this.#time.after(this.#times.sessionTimeoutMs, () => {
      // Whoever waits for the others is alive.
      if (member.joining === null && member.syncing === null) this.#remove(id)
    })
  }

  #remove(id: string): void {
    this.#pending.get(id)?.()
    const wasPending = this.#pending.delete(id)
    const member = this.#members.get(id)
    member?.expire()
    member?.joining?.(joinReply(25, id))
    if (!this.#members.delete(id) && !wasPending) return
    if (this.#state === 'preparing') this.#completeIfAllJoined()
    else if (member !== undefined) this.#prepare()
  }
}

function joinReply(error: number, memberId: string): GroupReply & { readonly api: 'join' } {
  return { api: 'join', error, memberId, generation: -1, members: null }
}
