import { TidemarkError } from '../../errors.ts'
import type { Clock } from '../../internal/clock.ts'
import { brokerClosed } from '../../message/broker-error.ts'
import { GroupMember } from '../../message/group/group-member.ts'
import type { Heartbeat } from '../../message/group/group-state.ts'
import { checkTopicSpecs } from '../../message/page.ts'
import { compared } from '../../message/topic-differences.ts'
import type { AssignmentListener, Broker, BrokerTraits, MembershipOptions, StreamClaim, Topic, TopicSpec } from '../../message/port.ts'
import { MemoryAppender } from './memory-appender.ts'
import { MemoryLog } from './memory-log.ts'
import { MemoryMembership } from './memory-membership.ts'
import { MemoryReader } from './memory-reader.ts'

export interface MemoryBrokerOptions {
  /** Shared by the brokers that are given it. @default a log of this broker's own */
  readonly log?: MemoryLog
  /** Of an own log; a given one has its own. @default the machine's clock */
  readonly clock?: Clock
  /** For topics that are made without a number of their own. @default 8 */
  readonly defaultPartitions?: number
  /** Of topics that do not say when they are made. @default Infinity */
  readonly retentionMs?: number
  /** A partition larger than this loses its oldest records. For topics made by this broker. @default Infinity */
  readonly retentionBytes?: number
  /** Key, value and headers together. @default 1,000,000 */
  readonly maxRecordBytes?: number
  /** Of memberships that do not say. @default 10,000 */
  readonly sessionTimeoutMs?: number
  /** Of memberships that do not say. @default 30,000 */
  readonly drainTimeoutMs?: number
}

/**
 * The broker in memory: everything the port promises, within one process and for its life. For tests, examples and simulations.
 * Has no timer but those of its clock, and none while nobody is a member.
 */
export class MemoryBroker implements Broker {
  readonly traits: BrokerTraits
  readonly #options: MemoryBrokerOptions
  readonly #log: MemoryLog
  readonly #members = new Set<MemoryMembership>()
  readonly #readers = new Set<MemoryReader>()
  #closed = false

  constructor(options: MemoryBrokerOptions = {}) {
    const { log, clock, maxRecordBytes = 1_000_000 } = options
    if (log !== undefined && clock !== undefined && clock !== log.clock) {
      throw new TidemarkError('CONFIG_INVALID', 'memoryBroker() takes a log or a clock: a log has its own clock.')
    }
    this.#options = options
    this.#log = log ?? new MemoryLog(clock === undefined ? {} : { clock })
    this.traits = { denseOffsets: true, fencesAppends: true, skipsRepeats: true, durable: false, crossProcess: false, maxRecordBytes }
  }

  async topics(specs: readonly TopicSpec[]): Promise<readonly Topic[]> {
    this.#check()
    checkTopicSpecs(specs)
    const { defaultPartitions = 8, retentionMs: ownMs = Infinity, retentionBytes = Infinity } = this.#options
    return specs.map((spec) => {
      const { name, partitions: wanted = defaultPartitions, retentionMs = ownMs } = spec
      const { id, partitions } = this.#log.ensureTopic(name, wanted, { retentionMs, retentionBytes })
      return compared({ name, id, partitions }, spec)
    })
  }

  async appender(claim: StreamClaim): Promise<MemoryAppender> {
    this.#check()
    return new MemoryAppender(this.#log, claim, this.traits.maxRecordBytes, () => this.#check())
  }

  async join(options: MembershipOptions, listener: AssignmentListener): Promise<MemoryMembership> {
    this.#check()
    const { group, topics, clientId = null } = options
    if (group === '' || topics.length === 0)
      throw new TidemarkError('INPUT_INVALID', 'A membership needs the name of a group and at least one topic.')
    const { sessionTimeoutMs = this.#options.sessionTimeoutMs ?? 10_000, drainTimeoutMs = this.#options.drainTimeoutMs ?? 30_000 } = options
    for (const name of topics) this.#log.topic(name)
    const memberId = this.#log.nextMember()
    const coordinator = { beat: async (beat: Omit<Heartbeat, 'now' | 'memberId'>) => this.#log.beat(group, { ...beat, memberId }) }
    const joining = { clientId, topics: [...topics], sessionTimeoutMs, drainTimeoutMs }
    const member = new GroupMember({ coordinator, joining, listener, clock: this.#log.clock })
    const detach = this.#log.attach(group, memberId, member)
    const ended = (): void => {
      detach()
      this.#members.delete(membership)
    }
    const membership = new MemoryMembership({ log: this.#log, group, member, ended })
    this.#members.add(membership)
    await member.join()
    return membership
  }

  reader(): MemoryReader {
    this.#check()
    const reader: MemoryReader = new MemoryReader(this.#log, 'reader', () => this.#readers.delete(reader))
    this.#readers.add(reader)
    return reader
  }

  async offsets(topic: string, at: 'earliest' | 'latest' | Date): Promise<readonly number[]> {
    this.#check()
    return this.#log.topic(topic).offsets(at)
  }

  async committed(group: string, topic: string): Promise<readonly (number | null)[]> {
    this.#check()
    return this.#log.committed(group, topic)
  }

  async retention(topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
    this.#check()
    return new Map(this.#log.existing(topics).map(({ name, retentionMs }) => [name, retentionMs]))
  }

  /** Removes what is past its retention now; otherwise appends do that, about once a second. */
  async trim(): Promise<void> {
    this.#check()
    this.#log.trim()
  }

  /** Deletes a topic with its records, for good. Its readers are told that they lost it. */
  async deleteTopic(name: string): Promise<void> {
    this.#check()
    this.#log.deleteTopic(name)
  }

  /**
   * Gives a topic more partitions, as an operator of Kafka can: to test what a service does then, since most keys are in another partition
   * afterwards. Rejects with `TOPIC_MISMATCH` where it has as many already.
   */
  async addPartitions(name: string, partitions: number): Promise<void> {
    this.#check()
    this.#log.addPartitions(name, partitions)
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const member of [...this.#members]) member.abandon()
    for (const reader of this.#readers) await reader.close()
  }

  #check(): void {
    if (this.#closed) throw brokerClosed('broker')
  }
}

/** The broker in memory. */
export function memoryBroker(options?: MemoryBrokerOptions): MemoryBroker {
  return new MemoryBroker(options)
}
