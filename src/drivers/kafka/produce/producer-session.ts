import { TidemarkError } from '../../../errors.ts'
import { type Backoff, backoffMs } from '../../../internal/backoff.ts'
import { type Clock, pause } from '../../../internal/clock.ts'
import { crashPoint } from '../../../internal/crash-point.ts'
import { brokerClosed } from '../../../message/broker-error.ts'
import { describeTransactionsV0, endTxnV3, initProducerIdV4 } from '../client.ts'
import type { Cluster } from '../wire/cluster.ts'
import { errorName, protocolError } from '../wire/protocol-error.ts'
import { addPartitionsApi, type TransactionPartitions } from './transaction-api.ts'

export interface ProducerSessionParts {
  readonly cluster: Cluster
  readonly clock: Clock
  /** `null`: idempotent, without transactions. */
  readonly transactionalId: string | null
  readonly transactionTimeoutMs: number
  /** How long a coordinator that is moving or busy is waited for. */
  readonly patienceMs: number
  /** Distinguishes the producer's connections from others'. */
  readonly lane: string
  /** Aborts when nothing may be asked any more. */
  readonly closing: AbortSignal
}

const retry: Backoff = { firstMs: 10, maxMs: 1_000 }
/** The end of the transaction before is still being written. */
const busy: ReadonlySet<string> = new Set(['CONCURRENT_TRANSACTIONS', 'COORDINATOR_LOAD_IN_PROGRESS'])
const moved: ReadonlySet<string> = new Set(['NOT_COORDINATOR', 'COORDINATOR_NOT_AVAILABLE'])

/** A producer's identity at the brokers, by which they know its batches apart, and its transactions if it has any. */
export class ProducerSession {
  readonly #parts: ProducerSessionParts
  #id: { readonly producerId: bigint; readonly producerEpoch: number } = { producerId: -1n, producerEpoch: -1 }
  #inTransaction = new Set<string>()

  constructor(parts: ProducerSessionParts) {
    this.#parts = parts
  }

  get id(): { readonly producerId: bigint; readonly producerEpoch: number } {
    return this.#id
  }

  get transactional(): boolean {
    return this.#parts.transactionalId !== null
  }

  /**
   * Gets a new identity. With a transactional id whoever had it before is fenced, and what it had not committed is aborted before this resolves.
   */
  async open(): Promise<void> {
    const { transactionalId, transactionTimeoutMs, cluster, lane } = this.#parts
    const reply = await this.#untilAnswered('to give out a producer id', async () => {
      const args: Parameters<typeof initProducerIdV4.api.async> extends [unknown, ...infer Rest] ? Rest : never = [
        transactionalId,
        transactionalId === null ? 0 : transactionTimeoutMs,
        -1n,
        -1,
      ]
      return transactionalId === null
        ? cluster.callAny(initProducerIdV4.api, args, { lane })
        : cluster.call(await cluster.coordinator('transaction', transactionalId), initProducerIdV4.api, args, { lane })
    })
    this.#id = { producerId: reply.producerId, producerEpoch: reply.producerEpoch }
    this.#inTransaction.clear()
  }

  /** Before the first batch for a partition in a transaction. Does nothing without transactions. */
  async enlist(partitions: readonly { readonly topic: string; readonly partition: number }[]): Promise<void> {
    const { transactionalId, cluster, lane } = this.#parts
    if (transactionalId === null) return
    const fresh = partitions.filter(({ topic, partition }) => !this.#inTransaction.has(`${topic}/${partition}`))
    if (fresh.length === 0) return
    const topics = new Map<string, number[]>()
    for (const { topic, partition } of fresh) topics.set(topic, [...(topics.get(topic) ?? []), partition])
    const request: TransactionPartitions = { transactionalId, ...this.#id, topics: [...topics] }
    await this.#untilAnswered('to begin a transaction', async () =>
      cluster.call(await cluster.coordinator('transaction', transactionalId), addPartitionsApi, [request], { lane }),
    )
    for (const { topic, partition } of fresh) this.#inTransaction.add(`${topic}/${partition}`)
    crashPoint('kafka:after-enlist')
  }

  /** Makes everything since the last end visible, or nothing of it; resolves when that is done. Does nothing without a transaction. */
  async end(commit: boolean): Promise<void> {
    const { transactionalId, cluster, lane } = this.#parts
    if (transactionalId === null || this.#inTransaction.size === 0) return
    const { producerId, producerEpoch } = this.#id
    const args: [string, bigint, number, boolean] = [transactionalId, producerId, producerEpoch, commit]
    crashPoint('kafka:before-commit')
    await this.#untilAnswered('to end a transaction', async () =>
      cluster.call(await cluster.coordinator('transaction', transactionalId), endTxnV3.api, args, { lane }),
    )
    this.#inTransaction.clear()
    crashPoint('kafka:after-commit')
    // It has ended, whatever comes now.
    await this.#untilMarked(transactionalId).catch(() => undefined)
  }

  /**
   * The end of a transaction is durable before readers see it: the marks are written to its partitions after it. Others' open transactions may hide it
   * for longer, and are not waited for.
   */
  async #untilMarked(transactionalId: string): Promise<void> {
    const { cluster, clock, lane, patienceMs } = this.#parts
    for (const until = clock.elapsed() + patienceMs; ;) {
      const { state } = await this.#untilAnswered('to say how a transaction stands', async () => {
        const coordinator = await cluster.coordinator('transaction', transactionalId)
        const { transactionStates } = await cluster.call(coordinator, describeTransactionsV0.api, [[transactionalId]], { lane })
        return { errorCode: transactionStates[0]?.errorCode ?? 0, state: transactionStates[0]?.transactionState }
      })
      if ((state !== 'PrepareCommit' && state !== 'PrepareAbort') || clock.elapsed() >= until) return
      await pause(clock, 2)
    }
  }

  async #untilAnswered<Reply extends { readonly errorCode: number }>(doing: string, ask: () => Promise<Reply>): Promise<Reply> {
    const { clock, cluster, transactionalId, patienceMs, closing } = this.#parts
    const until = clock.elapsed() + patienceMs
    for (let failures = 1; ; failures++) {
      if (closing.aborted) throw brokerClosed('appender')
      let name = ''
      let trouble: TidemarkError
      try {
        const reply = await ask()
        if (reply.errorCode === 0) return reply
        name = errorName(reply.errorCode)
        trouble = protocolError(reply.errorCode, doing)
      } catch (error) {
        if (!TidemarkError.is(error)) throw error
        trouble = error
      }
      if (transactionalId !== null && (name === '' || moved.has(name))) cluster.forgetCoordinator('transaction', transactionalId)
      if (!trouble.retryable || clock.elapsed() >= until) throw trouble
      await pause(clock, busy.has(name) ? 5 : backoffMs(retry, failures, clock.random()), closing)
    }
  }
}
