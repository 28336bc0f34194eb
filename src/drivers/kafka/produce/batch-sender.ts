import { TidemarkError } from '../../../errors.ts'
import { type Backoff, backoffMs } from '../../../internal/backoff.ts'
import { type Clock, pause } from '../../../internal/clock.ts'
import { crashPoint } from '../../../internal/crash-point.ts'
import { brokerClosed } from '../../../message/broker-error.ts'
import type { Refusal, SequencedRecord } from '../../../message/port.ts'
import type { Compression } from '../record-batch/compression.ts'
import { cutBatches } from '../record-batch/cut-batches.ts'
import { encodeBatch } from '../record-batch/encode-batch.ts'
import type { TopicDirectory } from '../topics/topic-directory.ts'
import type { TopicLimits } from '../topics/topic-limits.ts'
import type { Cluster } from '../wire/cluster.ts'
import { type Node, placeOf } from '../wire/node.ts'
import { errorName, protocolError } from '../wire/protocol-error.ts'
import type { OpenBatch, PartitionQueue } from './partition-queue.ts'
import { type ProduceAnswer, produceApi } from './produce-api.ts'
import type { ProducerSession } from './producer-session.ts'
import { addToSequence } from './sequence.ts'

export interface BatchSenderParts {
  readonly cluster: Cluster
  readonly directory: TopicDirectory
  readonly limits: TopicLimits
  readonly clock: Clock
  readonly session: ProducerSession
  readonly transactionalId: string | null
  readonly compression: Compression
  /** How long elections and outages are waited for before the page is given back. */
  readonly deliveryTimeoutMs: number
  readonly requestTimeoutMs: number
  /** Distinguishes this sender's connections from others'. */
  readonly lane: string
  /** Aborts when nothing may be sent any more. */
  readonly closing: AbortSignal
}

/** The most that is encoded and sent to one broker at once. */
const maxRequestBytes = 8 * 1024 * 1024
const retry: Backoff = { firstMs: 20, maxMs: 1_000 }
/** The batch, or one record in it, is what the broker objects to. */
const objections: ReadonlySet<string> = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE', 'INVALID_RECORD', 'INVALID_TIMESTAMP'])
/** The broker does not know our numbers any more. */
const forgotten: ReadonlySet<string> = new Set([
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'UNKNOWN_PRODUCER_ID',
  'INVALID_PRODUCER_ID_MAPPING',
  'INVALID_PRODUCER_EPOCH',
])

/** Thrown when the broker has lost count of our batches: only the log itself can say now what it holds. */
export class SequenceLost extends Error {}

/**
 * Sends queues of records, one batch in flight for each partition. A batch whose reply is lost is sent again as it was, byte by byte and under the same
 * sequence numbers, so that the broker leaves out what it has (idempotent producing, KIP-98).
 */
export class BatchSender {
  readonly #parts: BatchSenderParts
  readonly #sequences = new Map<string, number>()
  /** Topics whose limit was looked up since the page came. */
  #measured = new Set<string>()

  constructor(parts: BatchSenderParts) {
    this.#parts = parts
  }

  /** After the session got a new identity. */
  restart(): void {
    this.#sequences.clear()
  }

  /** Resolves when everything is in the log but what was refused. Rejects when the outcome is unknown, or nothing will mend it. */
  async send(queues: readonly PartitionQueue[]): Promise<readonly Refusal[]> {
    const { clock, deliveryTimeoutMs, closing } = this.#parts
    const refusals: Refusal[] = []
    this.#measured = new Set()
    const until = clock.elapsed() + deliveryTimeoutMs
    for (let failures = 0; ;) {
      if (closing.aborted) throw brokerClosed('appender')
      const left = queues.filter((queue) => !queue.isEmpty)
      if (left.length === 0) return refusals
      const trouble = await this.#round(left, refusals)
      if (trouble === null) {
        failures = 0
        continue
      }
      failures += 1
      if (clock.elapsed() >= until) throw trouble
      await pause(clock, backoffMs(retry, failures, clock.random()), closing)
    }
  }

  /** One request to each broker concerned. Says what kept a batch from being answered. */
  async #round(queues: readonly PartitionQueue[], refusals: Refusal[]): Promise<TidemarkError | null> {
    const { directory, session } = this.#parts
    const unknown = await this.#learn(queues)
    if (unknown !== null) return unknown
    let trouble: TidemarkError | null = null
    const requests = new Map<string, { readonly node: Node; readonly queues: PartitionQueue[]; bytes: number }>()
    for (const queue of queues) {
      const leader = directory.leader(queue.topic, queue.partition)
      if (leader === null) {
        directory.forget(queue.topic)
        trouble = leaderless(queue)
        continue
      }
      const name = placeOf(leader)
      const request = requests.get(name) ?? { node: leader, queues: [], bytes: 0 }
      requests.set(name, request)
      if (request.bytes >= maxRequestBytes || !this.#openBatch(queue, refusals)) continue
      request.queues.push(queue)
      request.bytes += queue.open!.bytes.length
    }
    const ready = [...requests.values()].filter((request) => request.queues.length > 0)
    await session.enlist(ready.flatMap((request) => request.queues))
    // All are awaited to the end, whichever fails: nothing may still be under way when the page is given back.
    const outcomes = await Promise.allSettled(ready.map(({ node, queues: mine }) => this.#request(node, mine, refusals)))
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') throw outcome.reason
      trouble = outcome.value ?? trouble
    }
    return trouble
  }

  /** Leaders and limits. An outage in which nobody can tell them is waited for like any other: the open batches keep their numbers. */
  async #learn(queues: readonly PartitionQueue[]): Promise<TidemarkError | null> {
    const topics = queues.map(({ topic }) => topic)
    try {
      await this.#parts.directory.find(topics)
      await this.#parts.limits.learn(topics)
      return null
    } catch (error) {
      if (!TidemarkError.is(error, 'BROKER_UNREACHABLE')) throw error
      return error
    }
  }

  /** Encodes the queue's next batch unless one is open. `false` where nothing is left after refusals, or the topic's limit is to be looked up again. */
  #openBatch(queue: PartitionQueue, refusals: Refusal[]): boolean {
    const limit = this.#parts.limits.of(queue.topic)
    while (queue.open === null && !queue.isEmpty) {
      const records = queue.next().map(({ record }) => record)
      // The usual case, a page that is small once it is spread over the partitions, is not worth measuring: the batch tells.
      const whole = contentBytes(records) < limit / 2 ? this.#encode(queue, records) : null
      if (whole !== null && whole.bytes.length <= limit) {
        queue.open = whole
        return true
      }
      const { ranges, tooLarge } = cutBatches(records, limit)
      if (tooLarge[0] === 0) {
        if (!this.#isMeasured(queue.topic)) return false
        refusals.push(...queue.refuseNext(`it does not fit into a batch of ${limit} bytes, the max.message.bytes of ${queue.topic}`))
      } else queue.open = this.#encode(queue, records.slice(0, ranges[0]!.end))
    }
    return queue.open !== null
  }

  /** Before a record is refused the limit is looked up again: it may have been raised for this very record. */
  #isMeasured(topic: string): boolean {
    if (this.#measured.has(topic)) return true
    this.#measured.add(topic)
    this.#parts.limits.forget(topic)
    return false
  }

  #encode({ topic, partition }: PartitionQueue, records: readonly SequencedRecord[]): OpenBatch {
    const { session, compression, clock } = this.#parts
    const baseSequence = this.#sequences.get(`${topic}/${partition}`) ?? 0
    const { transactional, id } = session
    const bytes = encodeBatch(records, { ...id, baseSequence, transactional, timestamp: clock.now(), compression })
    return { bytes, count: records.length, baseSequence }
  }

  async #request(node: Node, queues: readonly PartitionQueue[], refusals: Refusal[]): Promise<TidemarkError | null> {
    const { cluster, directory, transactionalId, requestTimeoutMs, lane, closing } = this.#parts
    if (closing.aborted) throw brokerClosed('appender')
    const batches = queues.map(({ topic, partition, open }) => ({ topic, partition, batch: open!.bytes }))
    let answers: readonly ProduceAnswer[]
    try {
      answers = await cluster.call(node, produceApi, [transactionalId, requestTimeoutMs, batches], { lane })
    } catch (error) {
      if (!TidemarkError.is(error, 'BROKER_UNREACHABLE')) throw error
      for (const { topic } of queues) directory.forget(topic)
      return error
    }
    crashPoint('kafka:after-produce')
    const byPlace = new Map(queues.map((queue) => [`${queue.topic}/${queue.partition}`, queue]))
    let trouble: TidemarkError | null = null
    for (const answer of answers) {
      const queue = byPlace.get(`${answer.topic}/${answer.partition}`)
      if (queue !== undefined) trouble = this.#answered(queue, answer, refusals) ?? trouble
    }
    return trouble
  }

  #answered(queue: PartitionQueue, answer: ProduceAnswer, refusals: Refusal[]): TidemarkError | null {
    const name = errorName(answer.errorCode)
    if (answer.errorCode === 0 || name === 'DUPLICATE_SEQUENCE_NUMBER') {
      const { baseSequence, count } = queue.open!
      this.#sequences.set(`${queue.topic}/${queue.partition}`, addToSequence(baseSequence, count))
      queue.appended()
      return null
    }
    if (objections.has(name)) {
      this.#parts.limits.forget(queue.topic)
      if (queue.open!.count > 1) queue.splitOpen()
      else
        refusals.push(
          ...queue.refuseNext(`${name}: ${answer.recordErrors[0]?.message ?? answer.errorMessage ?? 'the broker does not take it'}`),
        )
      return null
    }
    const error = protocolError(answer.errorCode, `a batch for partition ${queue.partition} of ${queue.topic}`, answer.errorMessage)
    if (!this.#parts.session.transactional && forgotten.has(name)) throw new SequenceLost(name)
    if (error.code === 'TOPIC_UNKNOWN') {
      // Deleted, or the broker has not heard of it yet: the next look at the cluster tells.
      this.#parts.directory.forget(queue.topic)
      return new TidemarkError('BROKER_UNREACHABLE', error.message, { cause: error })
    }
    if (!error.retryable) throw error
    this.#parts.directory.forget(queue.topic)
    return error
  }
}

/** Keys and values, without what takes longer to measure. */
function contentBytes(records: readonly SequencedRecord[]): number {
  let bytes = 0
  for (const { key, value } of records) bytes += (key?.length ?? 0) + (value?.length ?? 0)
  return bytes
}

function leaderless({ topic, partition }: PartitionQueue): TidemarkError {
  return new TidemarkError('BROKER_UNREACHABLE', `Partition ${partition} of ${topic} has no leader at the moment.`)
}
