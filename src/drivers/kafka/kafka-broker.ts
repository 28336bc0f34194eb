import { randomUUID } from 'node:crypto'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { TidemarkError } from '../../errors.ts'
import { type Clock, pause, systemClock } from '../../internal/clock.ts'
import { brokerClosed, topicUnknown } from '../../message/broker-error.ts'
import { checkTopicSpecs, sourceLife } from '../../message/page.ts'
import { type TopicConfig, compared } from '../../message/topic-differences.ts'
import type {
  Appender,
  AssignmentListener,
  Broker,
  BrokerTraits,
  MembershipOptions,
  StreamClaim,
  Topic,
  TopicSpec,
} from '../../message/port.ts'
import { createPartitionsV3, deleteTopicsV6, offsetFetchV8 } from './client.ts'
import { KafkaGroupMember } from './group/kafka-group-member.ts'
import { KafkaMembership } from './kafka-membership.ts'
import { KafkaAppender } from './produce/kafka-appender.ts'
import { LogReader } from './read/log-reader.ts'
import { type Compression, checkCompression } from './record-batch/compression.ts'
import { createTopics } from './topics/create-topics.ts'
import { listOffsets } from './topics/list-offsets.ts'
import { TopicDirectory } from './topics/topic-directory.ts'
import { readTopicConfigs, topicConfig, TopicLimits } from './topics/topic-limits.ts'
import { Cluster } from './wire/cluster.ts'
import type { Sasl } from './wire/log-in.ts'
import { protocolError } from './wire/protocol-error.ts'

export interface KafkaBrokerOptions {
  /** Where to begin, as `host:port`. One that answers is enough; the others are learnt from it. */
  readonly brokers: readonly string[]
  /** Shown in the brokers' logs and quotas. @default 'tidemark' */
  readonly clientId?: string
  /** TLS, as `node:tls` takes it; `{}` for the system's own certificates. @default no TLS */
  readonly tls?: TlsOptions
  readonly sasl?: Sasl
  /** How a group shares its partitions: the classic protocol, or KIP-848's on brokers that have it. @default 'classic' */
  readonly groupProtocol?: 'classic' | 'consumer'
  /**
   * Fence each relay stream on the wire by a transactional id: a superseded relay can then not even repeat old messages. Costs a transaction for each
   * page. Readers see a page when it is committed. @default false
   */
  readonly fenceStreams?: boolean
  /** Begins the names of transactional ids. @default 'tidemark' */
  readonly transactionalIdPrefix?: string
  /** @default 'none' */
  readonly compression?: Compression
  /** May topics be made? `false`: a missing one is `TOPIC_UNKNOWN`. @default true */
  readonly createTopics?: boolean
  /** For topics that are made without a number of their own. @default 8 */
  readonly defaultPartitions?: number
  /** For topics that are made. @default the cluster's own */
  readonly replicationFactor?: number
  /** For topics that are made without a retention of their own, milliseconds. @default the cluster's own */
  readonly retentionMs?: number
  /** Key, value and headers together. Topics may have a lower limit, which is looked up. The default is what Kafka's own default takes. @default 1,000,000 */
  readonly maxRecordBytes?: number
  /** @default 5,000 */
  readonly connectTimeoutMs?: number
  /** @default 30,000 */
  readonly requestTimeoutMs?: number
  /** How long an append waits for elections and outages before it rejects. @default 30,000 */
  readonly deliveryTimeoutMs?: number
  /** Of memberships that do not say, classic protocol only. @default 10,000 */
  readonly sessionTimeoutMs?: number
  /** Of memberships that do not say. @default 30,000 */
  readonly drainTimeoutMs?: number
  readonly clock?: Clock
}

const transactionTimeoutMs = 60_000
/** For making topics. */
const creationTimeoutMs = 30_000

/** A Kafka cluster as the log. Nothing is opened before the first call. */
export class KafkaBroker implements Broker {
  readonly traits: BrokerTraits
  readonly #options: KafkaBrokerOptions
  readonly #clock: Clock
  readonly #cluster: Cluster
  readonly #directory: TopicDirectory
  readonly #limits: TopicLimits
  readonly #members = new Set<KafkaMembership>()
  readonly #appenders = new Set<KafkaAppender>()
  readonly #readers = new Set<LogReader>()
  #closed = false

  /** Throws `CONFIG_INVALID` for addresses that are none, and for a compression that this Node lacks. */
  constructor(options: KafkaBrokerOptions) {
    const { brokers, clientId = 'tidemark', tls, sasl, maxRecordBytes = 1_000_000, clock = systemClock, fenceStreams = false } = options
    const { connectTimeoutMs = 5_000, requestTimeoutMs = 30_000 } = options
    checkCompression(options.compression ?? 'none')
    this.#options = options
    this.#clock = clock
    this.#cluster = new Cluster({ brokers, clientId, tls, sasl, connectTimeoutMs, requestTimeoutMs, clock })
    this.#directory = new TopicDirectory(this.#cluster)
    this.#limits = new TopicLimits(this.#cluster)
    this.traits = {
      denseOffsets: false,
      fencesAppends: fenceStreams,
      skipsRepeats: true,
      durable: true,
      crossProcess: true,
      maxRecordBytes,
    }
  }

  async topics(specs: readonly TopicSpec[]): Promise<readonly Topic[]> {
    this.#check()
    checkTopicSpecs(specs)
    const names = [...new Set(specs.map(({ name }) => name))]
    const found = [...(await this.#cluster.describe(names))]
    const missing = new Map(specs.filter(({ name }) => !found.some((topic) => topic.name === name)).map((spec) => [spec.name, spec]))
    if (missing.size > 0) found.push(...(await this.#create([...missing.values()])))
    this.#directory.learn(found)
    const configs = await this.#configs(specs.filter(({ name }) => !missing.has(name)))
    return specs.map((spec) => {
      const { name, id, partitions } = found.find((topic) => topic.name === spec.name)!
      return compared({ name, id, partitions: partitions.length }, spec, configs.get(name))
    })
  }

  async appender(claim: StreamClaim): Promise<Appender> {
    this.#check()
    const { fenceStreams = false, transactionalIdPrefix = 'tidemark', compression = 'none' } = this.#options
    const { deliveryTimeoutMs = 30_000, requestTimeoutMs = 30_000 } = this.#options
    const transactionalId = fenceStreams ? `${transactionalIdPrefix}.${sourceLife(claim.sourceEpoch).source}.${claim.stream}` : null
    const appender = await KafkaAppender.open({
      cluster: this.#cluster,
      directory: this.#directory,
      limits: this.#limits,
      clock: this.#clock,
      claim,
      transactionalId,
      transactionTimeoutMs,
      compression,
      maxRecordBytes: this.traits.maxRecordBytes,
      deliveryTimeoutMs,
      requestTimeoutMs,
      name: `stream ${claim.sourceEpoch}/${claim.stream} ${randomUUID().slice(0, 8)}`,
      closed: (closing) => void this.#appenders.delete(closing),
    })
    this.#appenders.add(appender)
    if (!this.#closed) return appender
    await appender.close()
    throw brokerClosed('broker')
  }

  async join(options: MembershipOptions, listener: AssignmentListener): Promise<KafkaMembership> {
    this.#check()
    const { group, topics, clientId = this.#options.clientId ?? 'tidemark' } = options
    if (group === '' || topics.length === 0)
      throw new TidemarkError('INPUT_INVALID', 'A membership needs the name of a group and at least one topic.')
    const { sessionTimeoutMs = this.#options.sessionTimeoutMs ?? 10_000, drainTimeoutMs = this.#options.drainTimeoutMs ?? 30_000 } = options
    const [cluster, directory, clock] = [this.#cluster, this.#directory, this.#clock]
    const name = `${group} ${randomUUID().slice(0, 8)}`
    const protocol = this.#options.groupProtocol ?? 'classic'
    const member = new KafkaGroupMember({
      cluster,
      group,
      topics,
      protocol,
      sessionTimeoutMs,
      drainTimeoutMs,
      clientId,
      listener,
      clock,
      lane: `group ${name}`,
    })
    const reader = new LogReader({ cluster, directory, clock, name, as: 'membership' })
    const membership: KafkaMembership = new KafkaMembership({
      cluster,
      group,
      member,
      reader,
      ended: () => void this.#members.delete(membership),
    })
    this.#members.add(membership)
    await member.join().catch((error: unknown) => {
      membership.abandon()
      throw error
    })
    if (this.#closed) {
      membership.abandon()
      throw brokerClosed('broker')
    }
    return membership
  }

  reader(): LogReader {
    this.#check()
    const name = `reader ${randomUUID().slice(0, 8)}`
    const closed = (): void => void this.#readers.delete(reader)
    const reader: LogReader = new LogReader({
      cluster: this.#cluster,
      directory: this.#directory,
      clock: this.#clock,
      name,
      as: 'reader',
      closed,
    })
    this.#readers.add(reader)
    return reader
  }

  async offsets(topic: string, at: 'earliest' | 'latest' | Date): Promise<readonly number[]> {
    this.#check()
    const found = await listOffsets(this.#cluster, this.#clock, topic, at)
    return inOrder(found)
  }

  async retention(topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
    this.#check()
    if (topics.length === 0) return new Map()
    const found = new Map<string, number>()
    for (const [name, config] of await readTopicConfigs(this.#cluster, topics)) {
      const { retentionMs, compacts } = topicConfig(config)
      if (retentionMs !== undefined) found.set(name, compacts === true ? Infinity : retentionMs)
    }
    return found
  }

  async committed(group: string, topic: string): Promise<readonly (number | null)[]> {
    this.#check()
    const [found] = await this.#cluster.describe([topic])
    if (found === undefined) throw topicUnknown(topic)
    const partitionIndexes = found.partitions.map((_, partition) => partition)
    const request = [{ groupId: group, memberEpoch: -1, topics: [{ name: topic, partitionIndexes }] }]
    const reply = await this.#cluster.askCoordinator(
      'group',
      group,
      (node) => this.#cluster.call(node, offsetFetchV8.api, [request, true]),
      ({ groups }) => groups[0]?.errorCode ?? 0,
    )
    const [answer] = reply.groups
    const partitions = answer?.topics[0]?.partitions ?? []
    const code = answer?.errorCode || partitions.find(({ errorCode }) => errorCode !== 0)?.errorCode || 0
    if (code !== 0) throw protocolError(code, `to say what the group "${group}" has committed of "${topic}"`)
    const offsets = new Map(partitions.map(({ partitionIndex, committedOffset }) => [partitionIndex, Number(committedOffset)]))
    return partitionIndexes.map((partition) => {
      const offset = offsets.get(partition) ?? -1
      return offset < 0 ? null : offset
    })
  }

  /**
   * Deletes a topic with its records, for good. Its readers are told that they lost it. Resolves when no broker describes it any more, so that it can be
   * made again; after 30 s in any case.
   */
  async deleteTopic(name: string): Promise<void> {
    this.#check()
    const [old] = await this.#cluster.describe([name])
    const { responses } = await this.#cluster.call(await this.#cluster.controller(), deleteTopicsV6.api, [
      [{ name, topicId: null }],
      creationTimeoutMs,
    ])
    const code = responses[0]?.errorCode ?? 0
    if (code !== 0) throw protocolError(code, `to delete the topic "${name}"`, responses[0]?.errorMessage)
    const isThere = async (): Promise<boolean> => (await this.#cluster.describedByEach([name])).some(({ id }) => id === old?.id)
    const until = this.#clock.elapsed() + creationTimeoutMs
    while ((await isThere()) && this.#clock.elapsed() < until) await pause(this.#clock, 20)
    this.#directory.forget(name)
  }

  /**
   * Gives a topic more partitions. Most keys are in another partition afterwards: see `addedPartitions` of a consumer first. Rejects with
   * `BROKER_FAILED` where it has as many already.
   */
  async addPartitions(name: string, partitions: number): Promise<void> {
    this.#check()
    const request = [{ name, count: partitions, assignments: null }]
    const { results } = await this.#cluster.call(await this.#cluster.controller(), createPartitionsV3.api, [
      request,
      creationTimeoutMs,
      false,
    ])
    const code = results[0]?.errorCode ?? 0
    if (code !== 0) throw protocolError(code, `to give the topic "${name}" ${partitions} partitions`, results[0]?.errorMessage)
    // The brokers hear of it one after the other.
    const until = this.#clock.elapsed() + creationTimeoutMs
    for (let has = 0; has < partitions && this.#clock.elapsed() < until;) {
      await pause(this.#clock, 20)
      has = (await this.#cluster.describe([name]))[0]?.partitions.filter(({ leader }) => leader !== null).length ?? 0
    }
    this.#directory.forget(name)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const member of [...this.#members]) member.abandon()
    for (const appender of [...this.#appenders]) await appender.close()
    for (const reader of this.#readers) await reader.close()
    await this.#cluster.close()
  }

  #check(): void {
    if (this.#closed) throw brokerClosed('broker')
  }

  /** Of topics that exist, where more than their partitions is expected. */
  async #configs(specs: readonly TopicSpec[]): Promise<ReadonlyMap<string, TopicConfig>> {
    const names = specs.filter(({ retentionMs, compact }) => retentionMs !== undefined || compact !== undefined).map(({ name }) => name)
    if (names.length === 0) return new Map()
    return new Map([...(await readTopicConfigs(this.#cluster, names))].map(([name, config]) => [name, topicConfig(config)]))
  }

  async #create(specs: readonly TopicSpec[]): ReturnType<typeof createTopics> {
    const { createTopics: allowed = true, defaultPartitions = 8, replicationFactor = -1, retentionMs } = this.#options
    if (!allowed) {
      const names = specs.map(({ name }) => name)
      throw new TidemarkError(
        'TOPIC_UNKNOWN',
        `The topics ${names.join(', ')} do not exist, and this service may not make them (createTopics: false).`,
        {
          details: { topics: names },
          remedy: 'Have them made (kafka-topics --create), or allow it.',
        },
      )
    }
    return createTopics(this.#cluster, this.#clock, specs, {
      partitions: defaultPartitions,
      replicationFactor,
      retentionMs,
      timeoutMs: creationTimeoutMs,
    })
  }
}

/** The Kafka broker: `kafka({ brokers: ['localhost:9092'] })`. Nothing is opened before the first call. */
export function kafka(options: KafkaBrokerOptions): KafkaBroker {
  return new KafkaBroker(options)
}

function inOrder(offsets: ReadonlyMap<number, number>): number[] {
  return Array.from({ length: offsets.size }, (_, partition) => offsets.get(partition)!)
}
