import type { MemoryLog } from '../../drivers/memory/memory-log.ts'
import { MemoryMembership } from '../../drivers/memory/memory-membership.ts'
import { TidemarkError } from '../../errors.ts'
import { GroupMember } from '../../message/group/group-member.ts'
import type { Heartbeat } from '../../message/group/group-state.ts'
import type {
  Appender,
  AssignmentListener,
  Broker,
  BrokerTraits,
  LogReader,
  Membership,
  MembershipOptions,
  StreamClaim,
  Topic,
  TopicSpec,
} from '../../message/port.ts'
import type { SimulatedProcess } from './simulated-process.ts'
import type { SimulatedLog } from './simulated-log.ts'

/** The broker as one process reaches it: every call and every heartbeat can be lost. */
export class SimulatedBroker implements Broker {
  readonly traits: BrokerTraits
  readonly #process: SimulatedProcess
  readonly #server: SimulatedLog
  readonly #log: MemoryLog

  constructor(process: SimulatedProcess, server: SimulatedLog) {
    this.traits = server.traits
    this.#process = process
    this.#server = server
    this.#log = server.log
  }

  topics(specs: readonly TopicSpec[]): Promise<readonly Topic[]> {
    return this.#call('topics', () => this.#server.broker.topics(specs))
  }

  offsets(topic: string, at: 'earliest' | 'latest' | Date): Promise<readonly number[]> {
    return this.#call('offsets', () => this.#server.broker.offsets(topic, at))
  }

  reader(): LogReader {
    const inner = this.#server.broker.reader()
    return { fetch: (from, options) => this.#call('fetch', () => inner.fetch(from, options)), close: () => inner.close() }
  }

  committed(group: string, topic: string): Promise<readonly (number | null)[]> {
    return this.#call('committed offsets', () => this.#server.broker.committed(group, topic))
  }

  async appender(claim: StreamClaim): Promise<Appender> {
    const inner = await this.#call(`claim the stream with epoch ${claim.epoch}`, () => this.#server.appender(claim))
    return {
      last: inner.last,
      append: (records) => this.#call(`append ${records.length} records`, () => inner.append(records)),
      close: () => Promise.resolve(),
    }
  }

  async join(options: MembershipOptions, listener: AssignmentListener): Promise<Membership> {
    const { group, topics, clientId = null, sessionTimeoutMs = 3_000, drainTimeoutMs = 4_000 } = options
    const memberId = `${this.#process.name}/${this.#log.nextMember()}`
    const coordinator = {
      beat: (beat: Omit<Heartbeat, 'now' | 'memberId'>) =>
        this.#call(beatName(beat), async () => this.#log.beat(group, { ...beat, memberId })),
    }
    const joining = { clientId, topics: [...topics], sessionTimeoutMs, drainTimeoutMs }
    const member = new GroupMember({ coordinator, joining, listener, clock: this.#process.clock })
    const detach = this.#log.attach(group, memberId, member)
    this.#process.whenDead(detach)
    const membership = new MemoryMembership({ log: this.#log, group, member, ended: detach })
    try {
      await member.join()
    } catch (error) {
      detach()
      throw error
    }
    return {
      fetch: (from, options) => this.#call('fetch', () => membership.fetch(from, options)),
      commit: (offsets) => this.#call('note offsets', () => membership.commit(offsets)),
      leave: () => membership.leave(),
    }
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  #call<T>(what: string, work: () => Promise<T>): Promise<T> {
    return this.#process.call(what, work, unreachable)
  }
}

function beatName({ join, leaving }: Omit<Heartbeat, 'now' | 'memberId'>): string {
  if (leaving === true) return 'leave the group'
  return join === undefined ? 'heartbeat' : 'join the group'
}

function unreachable(): TidemarkError {
  return new TidemarkError('BROKER_UNREACHABLE', 'The connection broke.')
}
