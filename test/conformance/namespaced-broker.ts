import { TidemarkError } from '../../src/errors.ts'
import { formatCoordinate } from '../../src/message/coordinate.ts'
import type {
  Appender,
  AssignedPartition,
  AssignmentListener,
  Broker,
  Fetched,
  FetchOptions,
  FetchPosition,
  Header,
  LogReader,
  Membership,
  MembershipOptions,
  SequencedRecord,
  StreamClaim,
  Topic,
  TopicSpec,
} from '../../src/message/port.ts'
import { coordinateHeader } from '../../src/message/wire.ts'

/** A broker of which one case sees only names of its own: cases that share a cluster do not meet. Names that no broker takes are passed on as they are. */
export class NamespacedBroker implements Broker {
  readonly #broker: Broker
  readonly #prefix: string

  constructor(broker: Broker, prefix: string) {
    this.#broker = broker
    this.#prefix = prefix
  }

  get traits(): Broker['traits'] {
    return this.#broker.traits
  }

  async topics(specs: readonly TopicSpec[]): Promise<readonly Topic[]> {
    const topics = await this.#told(() => this.#broker.topics(specs.map((spec) => ({ ...spec, name: this.#in(spec.name) }))))
    return topics.map((topic) => ({ ...topic, name: this.#out(topic.name) }))
  }

  async appender(claim: StreamClaim): Promise<Appender> {
    const source = (name: string): string => `${this.#prefix}${name}`
    const bare = (name: string): string => name.slice(this.#prefix.length)
    const mine = { ...claim, sourceEpoch: source(claim.sourceEpoch), topics: claim.topics.map((topic) => this.#in(topic)) }
    const appender = await this.#told(() => this.#broker.appender(mine))
    const record = (one: SequencedRecord): SequencedRecord => {
      const coordinate = one.coordinate === null ? null : { ...one.coordinate, sourceEpoch: source(one.coordinate.sourceEpoch) }
      const headers = one.headers.map(([name, value]): Header => {
        const isCoordinate = name === coordinateHeader && coordinate !== null
        return [name, isCoordinate ? formatCoordinate(coordinate) : value]
      })
      return { ...one, topic: this.#in(one.topic), headers, coordinate }
    }
    return {
      get last() {
        const { last } = appender
        return last === null ? null : { ...last, sourceEpoch: bare(last.sourceEpoch) }
      },
      append: (records) => this.#told(() => appender.append(records.map(record))),
      close: () => appender.close(),
    }
  }

  async join(options: MembershipOptions, listener: AssignmentListener): Promise<Membership> {
    const out = (partitions: readonly AssignedPartition[]): AssignedPartition[] =>
      partitions.map((one) => ({ ...one, topic: this.#out(one.topic) }))
    const inner: AssignmentListener = {
      assigned: (partitions) => listener.assigned(out(partitions)),
      revoked: (partitions) => listener.revoked(out(partitions)),
      lost: (partitions) => listener.lost(out(partitions)),
      failed: (error) => listener.failed(error),
    }
    const { group, topics } = options
    const mine = { ...options, group: group === '' ? '' : `${this.#prefix}${group}`, topics: topics.map((topic) => this.#in(topic)) }
    const membership = await this.#told(() => this.#broker.join(mine, inner))
    return {
      fetch: (from, fetching) => this.#fetch(membership, from, fetching),
      commit: (offsets) => membership.commit(offsets.map((position) => this.#position(position))),
      leave: () => membership.leave(),
    }
  }

  reader(): LogReader {
    const reader = this.#broker.reader()
    return { fetch: (from, fetching) => this.#fetch(reader, from, fetching), close: () => reader.close() }
  }

  offsets(topic: string, at: 'earliest' | 'latest' | Date): Promise<readonly number[]> {
    return this.#told(() => this.#broker.offsets(this.#in(topic), at))
  }

  committed(group: string, topic: string): Promise<readonly (number | null)[]> {
    return this.#told(() => this.#broker.committed(`${this.#prefix}${group}`, this.#in(topic)))
  }

  async retention(topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const kept = await this.#told(
      async () => (await this.#broker.retention?.(topics.map((topic) => this.#in(topic)))) ?? new Map<string, number>(),
    )
    return new Map([...kept].map(([name, ms]) => [this.#out(name), ms]))
  }

  close(): Promise<void> {
    return this.#broker.close()
  }

  async #fetch(reader: Pick<LogReader, 'fetch'>, from: readonly FetchPosition[], options: FetchOptions): Promise<readonly Fetched[]> {
    const positions = from.map((position) => this.#position(position))
    const found = await this.#told(() => reader.fetch(positions, options))
    return found.map((one) => ({
      ...one,
      topic: this.#out(one.topic),
      records: one.records.map((record) => ({ ...record, topic: this.#out(record.topic) })),
    }))
  }

  #position(one: FetchPosition): FetchPosition {
    return { ...one, topic: this.#in(one.topic) }
  }

  #in(topic: string): string {
    return /^[A-Za-z0-9._-]{1,200}$/.test(topic) && topic !== '.' && topic !== '..' ? `${this.#prefix}${topic}` : topic
  }

  #out(topic: string): string {
    return topic.startsWith(this.#prefix) ? topic.slice(this.#prefix.length) : topic
  }

  /** Facts in errors are seen without the prefix, too. */
  async #told<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call()
    } catch (error) {
      if (!TidemarkError.is(error) || typeof error.details['last'] !== 'string') throw error
      const details = { ...error.details, last: error.details['last'].slice(this.#prefix.length) }
      throw new TidemarkError(error.code, error.message, { cause: error, details })
    }
  }
}
