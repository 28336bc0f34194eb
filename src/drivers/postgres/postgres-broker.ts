import { randomUUID } from 'node:crypto'
import { TidemarkError } from '../../errors.ts'
import { type Clock, systemClock } from '../../internal/clock.ts'
import { brokerClosed, topicUnknown } from '../../message/broker-error.ts'
import { GroupMember } from '../../message/group/group-member.ts'
import { checkTopicSpecs } from '../../message/page.ts'
import type { AssignmentListener, Broker, BrokerTraits, MembershipOptions, StreamClaim, Topic, TopicSpec } from '../../message/port.ts'
import { compared } from '../../message/topic-differences.ts'
import { PostgresDatabase, type PostgresDatabaseOptions } from './database.ts'
import { DetachedReader } from './log/detached-reader.ts'
import { HeadWatch } from './log/head-watch.ts'
import { LogAppender } from './log/log-appender.ts'
import { LogGroup } from './log/log-group.ts'
import { LogMembership } from './log/log-membership.ts'
import { LogReader } from './log/log-reader.ts'
import { LogRetention } from './log/log-retention.ts'
import { readRetention } from './queries/log-retention.ts'
import { LogStore } from './log/log-store.ts'
import { TopicDirectory } from './log/topic-directory.ts'
import { migrate } from './migrations/migrate.ts'
import { defaultSchema, quotedSchema } from './migrations/schema-name.ts'
import { readCommitted } from './queries/log-fetch.ts'
import { createTopics, deleteTopic, readOffsets, readTopics } from './queries/log.ts'

export interface PostgresBrokerOptions extends PostgresDatabaseOptions {
  /** Where the log's tables are. @default 'tidemark' */
  readonly schema?: string
  /** Bring the tables up to date at the first use. `false`: check only, for roles that may not. @default true */
  readonly migrate?: boolean
  /** For topics that are made without a number of their own. It cannot be changed later. @default 8 */
  readonly defaultPartitions?: number
  /** Records are kept at least this long, unless their topic says otherwise when it is made. `Infinity`: for ever. @default 604,800,000 (7 days) */
  readonly retentionMs?: number
  /** A partition larger than this loses its oldest records, whatever their age. For topics made by this process. @default Infinity */
  readonly retentionBytes?: number
  /** How often this process looks for records to remove. @default 60,000 */
  readonly retentionIntervalMs?: number
  /** Key, value and headers together. The default is what Kafka's own default limit takes. @default 1,000,000 */
  readonly maxRecordBytes?: number
  /** Of memberships that do not say. @default 10,000 */
  readonly sessionTimeoutMs?: number
  /** Of memberships that do not say. @default 30,000 */
  readonly drainTimeoutMs?: number
  readonly clock?: Clock
}

const weekMs = 7 * 24 * 60 * 60 * 1000

/**
 * A partitioned log in Postgres, with groups of readers in any number of processes.
 *
 * Share one instance within a process: its members wait together (one look at the heads however many they are), and what one part of the process
 * appends wakes the others at once; between processes it takes 1 to 25 ms.
 */
export class PostgresBroker implements Broker {
  readonly traits: BrokerTraits
  readonly #options: PostgresBrokerOptions
  readonly #clock: Clock
  readonly #store: LogStore
  readonly #directory: TopicDirectory
  readonly #watch: HeadWatch
  readonly #retention: LogRetention
  readonly #members = new Map<LogMembership, string>()
  readonly #readers = new Set<DetachedReader>()
  #closed = false

  constructor(options: PostgresBrokerOptions) {
    const { schema = defaultSchema, retentionIntervalMs = 60_000, maxRecordBytes = 1_000_000, clock = systemClock } = options
    this.#options = options
    this.#clock = clock
    const database = new PostgresDatabase(options)
    this.#store = new LogStore(database, quotedSchema(schema), () =>
      migrate(database, { set: 'log', schema, apply: options.migrate ?? true }),
    )
    this.#directory = new TopicDirectory(this.#store)
    this.#watch = new HeadWatch(this.#store, clock)
    this.#retention = new LogRetention(this.#store, clock, retentionIntervalMs)
    this.traits = { denseOffsets: true, fencesAppends: true, skipsRepeats: true, durable: true, crossProcess: true, maxRecordBytes }
  }

  async topics(specs: readonly TopicSpec[]): Promise<readonly Topic[]> {
    checkTopicSpecs(specs)
    const names = specs.map(({ name }) => name)
    const rows = await this.#store.use(async (session, schema) => {
      const found = await readTopics(session, schema, names)
      const missing = new Map(specs.filter(({ name }) => !found.some((row) => row.name === name)).map((spec) => [spec.name, spec]))
      if (missing.size === 0) return found
      await createTopics(
        session,
        schema,
        [...missing.values()].map((spec) => this.#newTopic(spec)),
      )
      return readTopics(session, schema, names)
    })
    this.#directory.learn(rows)
    return specs.map((spec) => {
      const { name, id, partitions } = rows.find((row) => row.name === spec.name) ?? fail(spec.name)
      return compared({ name, id, partitions }, spec)
    })
  }

  async appender(claim: StreamClaim): Promise<LogAppender> {
    const parts = { store: this.#store, directory: this.#directory, watch: this.#watch, claim, maxRecordBytes: this.traits.maxRecordBytes }
    const appender = await LogAppender.open(parts)
    this.#retention.start()
    return appender
  }

  async join(options: MembershipOptions, listener: AssignmentListener): Promise<LogMembership> {
    const { group, topics, clientId = null } = options
    if (group === '' || topics.length === 0)
      throw new TidemarkError('INPUT_INVALID', 'A membership needs the name of a group and at least one topic.')
    const { sessionTimeoutMs = this.#options.sessionTimeoutMs ?? 10_000, drainTimeoutMs = this.#options.drainTimeoutMs ?? 30_000 } = options
    await this.#refresh(topics)
    const others = (self: LogMembership): LogMembership[] =>
      [...this.#members].filter(([member, of]) => of === group && member !== self).map(([member]) => member)
    const changed = (): void => others(membership).forEach((member) => member.poke())
    const coordinator = new LogGroup({ store: this.#store, group, memberId: randomUUID(), changed })
    const joining = { clientId, topics: [...topics], sessionTimeoutMs, drainTimeoutMs }
    const member = new GroupMember({ coordinator, joining, listener, clock: this.#clock })
    const reader = this.#newReader()
    const ended = (): void => void this.#members.delete(membership)
    const membership = new LogMembership({ store: this.#store, directory: this.#directory, reader, member, group, ended })
    this.#members.set(membership, group)
    await member.join().catch((error: unknown) => {
      membership.abandon()
      throw error
    })
    if (this.#closed) {
      membership.abandon()
      throw brokerClosed('broker')
    }
    this.#retention.start()
    return membership
  }

  reader(): DetachedReader {
    const reader = new DetachedReader(this.#newReader(), () => void this.#readers.delete(reader))
    this.#readers.add(reader)
    return reader
  }

  async offsets(topic: string, at: 'earliest' | 'latest' | Date): Promise<readonly number[]> {
    const key = await this.#keyOf(topic)
    return this.#store.use((session, schema) => readOffsets(session, schema, key, at instanceof Date ? at.getTime() : at))
  }

  async committed(group: string, topic: string): Promise<readonly (number | null)[]> {
    const key = await this.#keyOf(topic)
    return this.#store.use((session, schema) => readCommitted(session, schema, group, key))
  }

  async retention(topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return this.#store.use((session, schema) => readRetention(session, schema, topics))
  }

  /** Removes what is past its retention now, without waiting for the interval. */
  trim(): Promise<void> {
    return this.#retention.trim()
  }

  /** Deletes a topic with its records, for good. Its readers are told that they lost it. */
  async deleteTopic(name: string): Promise<void> {
    await this.#store.transaction((session, schema) => deleteTopic(session, schema, name))
    this.#directory.forget(name)
    for (const member of this.#members.keys()) member.poke()
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const member of this.#members.keys()) member.abandon()
    for (const reader of this.#readers) await reader.close()
    this.#watch.close()
    await this.#retention.close()
    await this.#store.close()
  }

  /** Read afresh, too. */
  async #keyOf(topic: string): Promise<number> {
    const [row] = await this.#store.use((session, schema) => readTopics(session, schema, [topic]))
    if (row === undefined) throw topicUnknown(topic)
    this.#directory.learn([row])
    return row.key
  }

  #newReader(): LogReader {
    return new LogReader({ store: this.#store, directory: this.#directory, watch: this.#watch, clock: this.#clock })
  }

  /** Reads afresh: what is remembered may be of a topic that was deleted. */
  async #refresh(names: readonly string[]): Promise<void> {
    for (const name of names) this.#directory.forget(name)
    await this.#directory.find(names)
  }

  #newTopic({ name, partitions = this.#options.defaultPartitions ?? 8, retentionMs = this.#options.retentionMs ?? weekMs }: TopicSpec) {
    const { retentionBytes = Infinity } = this.#options
    return { name, partitions, retentionMs: finite(retentionMs), retentionBytes: finite(retentionBytes) }
  }
}

/** The Postgres broker on your pool, or on a connection string. Nothing is opened before the first call. */
export function postgresBroker(options: PostgresBrokerOptions): PostgresBroker {
  return new PostgresBroker(options)
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? Math.round(value) : null
}

function fail(topic: string): never {
  throw topicUnknown(topic)
}
