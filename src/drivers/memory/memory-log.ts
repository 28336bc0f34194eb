import { type Clock, systemClock } from '../../internal/clock.ts'
import { noSuchPartition, streamFenced, topicUnknown } from '../../message/broker-error.ts'
import { type Coordinate, formatCoordinate } from '../../message/coordinate.ts'
import type { GroupMember } from '../../message/group/group-member.ts'
import { type GroupState, type Heartbeat, type HeartbeatReply, heartbeat } from '../../message/group/group-state.ts'
import { sourceLife } from '../../message/page.ts'
import type { AssignedPartition, FetchPosition, SequencedRecord, StreamClaim } from '../../message/port.ts'
import { MemoryTopic, type Retention } from './memory-topic.ts'

/** What a stream's owner is compared by. */
interface MemoryStream {
  life: number
  epoch: number
  last: Coordinate | null
}

interface MemoryGroup {
  state: GroupState
  readonly members: Map<string, GroupMember>
  readonly offsets: Map<string, number>
}

/**
 * What the brokers of one process share: give the same log to several `MemoryBroker`s and each stands for a process of its own.
 * Time, timers and randomness come from the clock alone, so a simulated clock makes all of it repeatable.
 */
export class MemoryLog {
  readonly clock: Clock
  readonly #topics = new Map<string, MemoryTopic>()
  readonly #streams = new Map<string, MemoryStream>()
  readonly #groups = new Map<string, MemoryGroup>()
  /** Called with the log's changes; each looks whether it is concerned. */
  readonly #watchers = new Set<() => void>()
  #members = 0

  constructor({ clock = systemClock }: { readonly clock?: Clock } = {}) {
    this.clock = clock
  }

  /** Rejects with `TOPIC_UNKNOWN`. */
  topic(name: string): MemoryTopic {
    const topic = this.#topics.get(name)
    if (topic !== undefined) return topic
    throw topicUnknown(name)
  }

  existing(names: readonly string[]): readonly MemoryTopic[] {
    return names.flatMap((name) => this.#topics.get(name) ?? [])
  }

  /** Is this topic there still, and not another of its name? */
  has(topic: MemoryTopic): boolean {
    return this.#topics.get(topic.name) === topic
  }

  ensureTopic(name: string, partitions: number, retention: Retention): MemoryTopic {
    const topic = this.#topics.get(name) ?? new MemoryTopic(name, this.#uuid(), partitions, retention)
    this.#topics.set(name, topic)
    return topic
  }

  deleteTopic(name: string): void {
    this.#topics.delete(name)
    this.#pokeMembers()
    this.#changed()
  }

  addPartitions(name: string, partitions: number): void {
    this.topic(name).grow(partitions)
    this.#pokeMembers()
    this.#changed()
  }

  trim(): void {
    for (const topic of this.#topics.values()) topic.trim(this.clock.now())
  }

  /** Takes a stream over. Throws `BROKER_FENCED`. */
  claim(claim: StreamClaim): MemoryStream {
    const { source, life } = sourceLife(claim.sourceEpoch)
    const key = `${source}/${claim.stream}`
    const stream = this.#streams.get(key) ?? { life, epoch: claim.epoch, last: null }
    if (stream.life > life || (stream.life === life && stream.epoch > claim.epoch)) throw streamFenced(claim, wireForm(stream.last))
    this.#streams.set(key, stream)
    stream.life = life
    stream.epoch = claim.epoch
    return stream
  }

  /** Appends all or throws. The caller has left out repeats. */
  append(claim: StreamClaim, stream: MemoryStream, records: readonly SequencedRecord[]): void {
    if (stream.epoch !== claim.epoch || stream.life !== sourceLife(claim.sourceEpoch).life) throw streamFenced(claim, wireForm(stream.last))
    const topics = records.map((record) => this.#topicOf(record))
    const nowMs = this.clock.now()
    records.forEach((record, i) => {
      topics[i]!.append(record, nowMs)
      stream.last = record.coordinate ?? stream.last
    })
    this.#changed()
  }

  /** Calls `look` after every change until the returned function is called. */
  watch(look: () => void): () => void {
    this.#watchers.add(look)
    return () => void this.#watchers.delete(look)
  }

  /** A name for a new member. */
  nextMember(): string {
    this.#members += 1
    return `member-${this.#members}`
  }

  beat(group: string, beat: Omit<Heartbeat, 'now'>): HeartbeatReply {
    const found = this.#group(group)
    const before = found.state
    const topics = new Set([...before.members.flatMap((member) => member.topics), ...(beat.join?.topics ?? [])])
    const { state, reply } = heartbeat(before, { ...beat, now: this.clock.now() }, this.#partitionsOf(topics))
    found.state = state
    const changed =
      state.members.length !== before.members.length ||
      state.partitions.length !== before.partitions.length ||
      state.partitions.some((row, i) => row !== before.partitions[i])
    if (changed) for (const [id, member] of found.members) if (id !== beat.memberId) member.poke()
    return reply
  }

  attach(group: string, id: string, member: GroupMember): () => void {
    const { members } = this.#group(group)
    members.set(id, member)
    return () => void members.delete(id)
  }

  noteOffsets(group: string, offsets: readonly FetchPosition[]): void {
    const found = this.#group(group)
    for (const { topic, partition, offset } of offsets) found.offsets.set(`${this.topic(topic).id}/${partition}`, offset)
  }

  /** What a group noted of each partition of a topic, if anything. */
  committed(group: string, name: string): (number | null)[] {
    const { id, partitions } = this.topic(name)
    const offsets = this.#groups.get(group)?.offsets
    return Array.from({ length: partitions }, (_, partition) => offsets?.get(`${id}/${partition}`) ?? null)
  }

  #pokeMembers(): void {
    for (const group of this.#groups.values()) for (const member of group.members.values()) member.poke()
  }

  #group(name: string): MemoryGroup {
    const group = this.#groups.get(name) ?? { state: { members: [], partitions: [] }, members: new Map(), offsets: new Map() }
    this.#groups.set(name, group)
    return group
  }

  #partitionsOf(names: ReadonlySet<string>): AssignedPartition[] {
    return [...names].sort().flatMap((name) => {
      const topic = this.#topics.get(name)
      return topic === undefined
        ? []
        : Array.from({ length: topic.partitions }, (_, partition) => ({ topic: name, topicId: topic.id, partition }))
    })
  }

  #topicOf({ topic: name, partition }: SequencedRecord): MemoryTopic {
    const topic = this.topic(name)
    if (partition >= 0 && partition < topic.partitions) return topic
    throw noSuchPartition(topic, partition)
  }

  #changed(): void {
    for (const look of [...this.#watchers]) look()
  }

  /** In the form of a uuid, since that is what stores of positions expect. A log made anew must not be taken for the old one. */
  #uuid(): string {
    const hex = (digits: number): string => Array.from({ length: digits }, () => Math.floor(this.clock.random() * 16).toString(16)).join('')
    return `${hex(8)}-${hex(4)}-4${hex(3)}-8${hex(3)}-${hex(12)}`
  }
}

function wireForm(coordinate: Coordinate | null): string | null {
  return coordinate === null ? null : formatCoordinate(coordinate)
}
