import { TidemarkError } from '../../../errors.ts'
import type { Clock } from '../../../internal/clock.ts'
import { crashPoint } from '../../../internal/crash-point.ts'
import { deferred } from '../../../internal/deferred.ts'
import { appendUnderWay, brokerClosed, noSuchPartition, streamFenced } from '../../../message/broker-error.ts'
import { type Coordinate, compareCoordinates, formatCoordinate } from '../../../message/coordinate.ts'
import { checkPage, lastCoordinate } from '../../../message/page.ts'
import type { Appender, Refusal, SequencedRecord, StreamClaim } from '../../../message/port.ts'
import { LogReader } from '../read/log-reader.ts'
import type { Compression } from '../record-batch/compression.ts'
import { listOffsets } from '../topics/list-offsets.ts'
import type { TopicDirectory } from '../topics/topic-directory.ts'
import type { TopicLimits } from '../topics/topic-limits.ts'
import type { Cluster, ClusterTopic } from '../wire/cluster.ts'
import { BatchSender, SequenceLost } from './batch-sender.ts'
import { PartitionQueue } from './partition-queue.ts'
import { ProducerSession } from './producer-session.ts'
import { type StreamTail, isAbove, readStreamTail } from './stream-tail.ts'
import { claimStream, hasNewerOwner } from './stream-claims.ts'

export interface KafkaAppenderParts {
  readonly cluster: Cluster
  readonly directory: TopicDirectory
  readonly limits: TopicLimits
  readonly clock: Clock
  readonly claim: StreamClaim
  /** Fence on the wire by this id; `null`: do not. */
  readonly transactionalId: string | null
  readonly transactionTimeoutMs: number
  readonly compression: Compression
  readonly maxRecordBytes: number
  readonly deliveryTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly name: string
  readonly closed: (appender: KafkaAppender) => void
}

/**
 * Sends one stream's pages. Within its life a batch is sent again under the same sequence numbers until it is answered; after a failure, and in a
 * successor, the coordinates at the end of the log tell what of the page came through.
 */
export class KafkaAppender implements Appender {
  readonly #parts: KafkaAppenderParts
  readonly #session: ProducerSession
  readonly #sender: BatchSender
  #tail: StreamTail = { last: null, sent: new Set() }
  /** Everything up to here is in the log, but what was refused. */
  #acked: Coordinate | null = null
  #refused = new Set<string>()
  #doubt = false
  #busy = false
  readonly #closing = new AbortController()
  /** Ends the append under way. */
  #cut: (error: TidemarkError) => void = () => undefined

  private constructor(parts: KafkaAppenderParts) {
    this.#parts = parts
    const common = { ...parts, lane: this.#lane, closing: this.#closing.signal }
    this.#session = new ProducerSession({ ...common, patienceMs: parts.deliveryTimeoutMs })
    this.#sender = new BatchSender({ ...common, session: this.#session })
  }

  /** Rejects with `BROKER_FENCED` when the stream is fenced by transactions and has a newer owner. */
  static async open(parts: KafkaAppenderParts): Promise<KafkaAppender> {
    const appender = new KafkaAppender(parts)
    try {
      await appender.#begin()
      return appender
    } catch (error) {
      await appender.close()
      throw error
    }
  }

  get last(): Coordinate | null {
    const { last } = this.#tail
    return this.#acked !== null && (last === null || isAbove(this.#acked, last)) ? this.#acked : last
  }

  async append(page: readonly SequencedRecord[]): Promise<readonly Refusal[]> {
    if (this.#closing.signal.aborted) throw brokerClosed('appender')
    if (this.#busy) throw appendUnderWay()
    this.#busy = true
    const { promise: cut, reject } = deferred<never>()
    this.#cut = reject
    try {
      return await Promise.race([this.#appendOrBegin(page), cut])
    } catch (error) {
      if (TidemarkError.is(error, 'BROKER_FENCED') && this.#doubt) throw await this.#fenced(error)
      if (!(error instanceof SequenceLost)) throw error
      throw new TidemarkError(
        'BROKER_UNREACHABLE',
        `The Kafka cluster lost count of the batches of ${this.#parts.name}: ${error.message}.`,
        {
          details: { kafka: error.message },
        },
      )
    } finally {
      this.#busy = false
    }
  }

  /** Somebody took the transactional id: a successor, or an owner of old that woke up late and is of no account. */
  async #fenced(error: TidemarkError): Promise<TidemarkError> {
    const { cluster, transactionalId, claim } = this.#parts
    if (transactionalId === null || (await hasNewerOwner(cluster, transactionalId, claim))) return streamFenced(claim, null)
    return new TidemarkError('BROKER_UNREACHABLE', 'An earlier owner of the stream took its transactional id for a moment.', {
      cause: error,
    })
  }

  /** An append under way rejects at once; what was sent of its page may be in the log, and nothing more is sent. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    this.#cut(brokerClosed('appender'))
    this.#parts.cluster.endLane(this.#lane)
    this.#parts.closed(this)
  }

  get #lane(): string {
    return `produce ${this.#parts.name}`
  }

  /** A new identity, and what the log holds already. In this order: with a transactional id nobody else can send any more when the log is read. */
  async #begin(): Promise<void> {
    const { cluster, claim, transactionalId } = this.#parts
    await this.#session.open()
    crashPoint('kafka:after-fence')
    this.#sender.restart()
    const owner = transactionalId === null ? null : await claimStream(cluster, transactionalId, claim)
    crashPoint('kafka:after-claim')
    this.#tail = await this.#readTail()
    this.#acked = null
    this.#refused.clear()
    this.#doubt = false
    if (owner === 'newer') throw streamFenced(claim, this.#tail.last === null ? null : formatCoordinate(this.#tail.last))
  }

  async #readTail(): Promise<StreamTail> {
    const { cluster, clock, directory, claim, name } = this.#parts
    const there = new Set((await cluster.describe(claim.topics)).map((topic) => topic.name))
    const reader = new LogReader({ cluster, clock, directory, name: `tail of ${name}`, as: 'reader' })
    const bounds = async (topic: string): Promise<{ start: number; end: number }[]> => {
      const [first, last] = await Promise.all((['earliest', 'latest'] as const).map((at) => listOffsets(cluster, clock, topic, at)))
      return [...first!.keys()].sort((a, b) => a - b).map((partition) => ({ start: first!.get(partition)!, end: last!.get(partition)! }))
    }
    try {
      return await readStreamTail(reader, { ...claim, topics: claim.topics.filter((topic) => there.has(topic)) }, bounds)
    } finally {
      await reader.close()
    }
  }

  async #appendOrBegin(page: readonly SequencedRecord[]): Promise<readonly Refusal[]> {
    if (this.#doubt) await this.#begin()
    return this.#append(page)
  }

  async #append(page: readonly SequencedRecord[]): Promise<readonly Refusal[]> {
    const { claim, maxRecordBytes, limits } = this.#parts
    // Repeats go first: what was appended before must not be refused now because a limit has changed.
    const places = [...page.keys()].filter((place) => !this.#isInLog(page[place]!.coordinate))
    const fresh = places.map((place) => page[place]!)
    const checked = checkPage(fresh, claim, maxRecordBytes)
    const refusals = checked.refusals.map(({ index, reason }) => ({ index: places[index]!, reason }))
    const queues = await this.#queues(fresh, places, new Set(checked.refusals.map(({ index }) => index)))
    await limits.learn(queues.map(({ topic }) => topic))
    this.#doubt = true
    refusals.push(...(await this.#sender.send(queues)))
    await this.#session.end(true)
    this.#doubt = false
    this.#noteAcked(page, refusals)
    return refusals.sort((a, b) => a.index - b.index)
  }

  /** `places`: of each record in its page. Rejects, before anything is sent, with `TOPIC_UNKNOWN` or `TOPIC_MISMATCH`. */
  async #queues(records: readonly SequencedRecord[], places: readonly number[], refused: ReadonlySet<number>): Promise<PartitionQueue[]> {
    const topics = await this.#parts.directory.find(records.map(({ topic }) => topic))
    const queues = new Map<string, Map<number, PartitionQueue>>()
    for (let index = 0; index < records.length; index++) {
      if (refused.has(index)) continue
      const record = records[index]!
      const { topic, partition } = record
      let ofTopic = queues.get(topic)
      if (ofTopic === undefined) queues.set(topic, (ofTopic = new Map()))
      let queue = ofTopic.get(partition)
      if (queue === undefined) ofTopic.set(partition, (queue = newQueue(topics.get(topic)!, partition)))
      queue.push({ index: places[index]!, record })
    }
    return [...queues.values()].flatMap((ofTopic) => [...ofTopic.values()])
  }

  #isInLog(coordinate: Coordinate | null): boolean {
    if (coordinate === null) return false
    if (this.#acked === null && this.#tail.sent.size === 0) return false
    const isAcked = this.#acked !== null && compareCoordinates(coordinate, this.#acked) <= 0
    if (isAcked) return !this.#refused.has(formatCoordinate(coordinate))
    return this.#tail.sent.size > 0 && this.#tail.sent.has(formatCoordinate(coordinate))
  }

  #noteAcked(page: readonly SequencedRecord[], refusals: readonly Refusal[]): void {
    this.#refused = new Set(
      refusals.flatMap(({ index }) => (page[index]!.coordinate === null ? [] : [formatCoordinate(page[index]!.coordinate)])),
    )
    const last = lastCoordinate(page)
    if (last !== null && (this.#acked === null || compareCoordinates(last, this.#acked) > 0)) this.#acked = last
    // Past what the log held at the beginning everything is new.
    const { sent, last: found } = this.#tail
    if (sent.size > 0 && this.#acked !== null && !isAbove(found!, this.#acked)) this.#tail = { last: found, sent: new Set() }
  }
}

function newQueue({ name, id, partitions }: ClusterTopic, partition: number): PartitionQueue {
  if (partition >= partitions.length || partition < 0) throw noSuchPartition({ name, id, partitions: partitions.length }, partition)
  return new PartitionQueue(name, partition)
}
