import { TidemarkError } from '../errors.ts'
import type { Clock } from '../internal/clock.ts'
import { systemClock } from '../internal/clock.ts'
import type { Broker } from '../message/port.ts'
import type { EnvelopeOptions } from '../message/read-envelope.ts'
import { type BatchLimits, defaultBatchLimits } from './partition/batch-size.ts'
import { type BreakerPolicy, defaultBreakerPolicy } from '../retry/circuit-breaker.ts'
import { type RetryPolicy, defaultRetryPolicy, retryPolicy } from '../retry/retry-policy.ts'
import { type DeadLetterTopic, RetryTopics, type RetryTopicsOptions } from '../retry/retry-topics.ts'
import type { DeadLetterPolicy } from './dead-letter-policy.ts'
import { type StartFrom, isStartFrom, startFromExpected } from './partition/first-offsets.ts'
import type { Handler } from './handler.ts'
import type { ConsumerStore, ParkedBounds } from './port.ts'

export interface ConsumerOptions extends EnvelopeOptions {
  /** Whose positions these are. Two consumers of one group share the partitions, in one process or in many. */
  readonly group: string
  readonly broker: Broker
  readonly store: ConsumerStore
  /** At most one for each event. Made by `onMessage` and `onBatch`. */
  readonly handlers: readonly Handler[]
  /**
   * Where a group begins that never read a topic; `Date` means the first message not older. A group that has a position keeps it whatever this
   * says.
   *
   * `'committed'` adopts, once, what a group of this name has committed at the broker, `{ committed: 'name' }` what another one has: end its
   * members first, since what they commit later counts no more. Partitions in which it committed nothing begin at their beginning. The consumer stops with
   * `CONFIG_INVALID` where it committed nothing in the whole topic, with `OFFSET_OUT_OF_RANGE` where the log does not hold the offset.
   * @default 'earliest'
   */
  readonly startFrom?: StartFrom
  /**
   * What to do with partitions that a topic got after the group began to read it. Most keys are in another partition then than before, so
   * newer messages of a key could be handled before older ones. `'stop'`: with `TOPIC_MISMATCH`. `'wait'`: handle the old partitions and leave the
   * new ones alone, to get the old ones to their ends. `'read'`: the new ones from their beginning on, side by side with the old ones; the order of a key does
   * not hold across the change. @default 'stop'
   */
  readonly addedPartitions?: 'stop' | 'wait' | 'read'
  /** Lanes for partitions seen for the first time. The stored number wins; `changeLanes` changes it. @default 4 */
  readonly lanes?: number
  /** Transactions at once, over all partitions; each needs a connection. @default 4 */
  readonly maxTransactions?: number
  readonly batch?: Partial<BatchLimits>
  /** What happens to a message whose handler failed. @default one more run at once, then 5 attempts in all, 1 s doubled each time, full jitter */
  readonly retry?: Partial<RetryPolicy>
  /** A run of a handler that takes longer has failed. @default 30,000 ms */
  readonly timeoutMs?: number
  /** When many keys fail alike, the consumer stands still instead of charging them. `false`: never. @default see `BreakerPolicy` */
  readonly breaker?: Partial<BreakerPolicy> | false
  /**
   * How much may wait behind parked keys, in bytes. At the bound the lane stands still until there is room again; `status()` and the diagnostics channel
   * say so. @default 16 MiB for a key, 256 MiB for a partition
   */
  readonly parked?: Partial<ParkedBounds>
  /** Transactions at once in which parked keys are tried again, up to 32 keys in each; each needs a connection. 0: not by this process. @default 4 */
  readonly retriers?: number
  /** How often it is looked whether a key is due, at least. @default 1,000 ms */
  readonly retryPollMs?: number
  /** Who tries a parked key again and is silent for so long has lost it to others. At least 100 in a service. @default 10,000 ms */
  readonly retryLeaseMs?: number
  /** What a dead letter does to the messages of its key behind it. @default 'block'; with retry topics 'skip', and nothing else */
  readonly deadLetter?: DeadLetterPolicy
  /**
   * Failed messages go to topics, each with its pause, instead of waiting in the database with their key: foreign programs can read and fill these. The
   * order of a key is lost by it: later messages of the key are handled while an earlier one waits. Needs the service's relay, and topics that are there. Effects
   * stay once. `true`: the defaults. @default false
   */
  readonly retryTopics?: RetryTopicsOptions | boolean
  /** A copy of each dead letter goes to a topic, for foreign tools; what counts is in the database. @default true with retry topics, else false */
  readonly deadLetterTopic?: DeadLetterTopic
  /** Read messages wait in memory up to here, over all partitions. @default 20,000 messages and 64 MiB */
  readonly buffer?: { readonly messages?: number; readonly bytes?: number }
  /** Bytes asked of the broker at once. @default 4 MiB */
  readonly fetchBytes?: number
  /** How often idle lanes' positions follow, and the broker hears of them. @default 1,000 ms */
  readonly idleAdvanceMs?: number
  /** Longest time in-flight batches get when a partition must go. Must be below the broker's own deadline. @default 5,000 ms */
  readonly drainMs?: number
  /** A former owner's transaction that stands still for longer is ended at a take-over. @default 3,000 ms */
  readonly lockTimeoutMs?: number
  /** A silent member's partitions go to others after this. @default the broker's own */
  readonly sessionTimeoutMs?: number
  /** Ids of handled messages that come without a coordinate are remembered at least so long. @default 7 days */
  readonly dedupMs?: number
  /** Kept with dead letters. @default none */
  readonly codeVersion?: string
  /** Shown to operators of the broker. */
  readonly clientId?: string
  /** Called after a commit that published something, so that a relay of this process can be woken. Must not throw. @default nothing */
  readonly onPublished?: () => void
  /** @default this process's clock */
  readonly clock?: Clock
}

export const defaultParkedBounds: ParkedBounds = { bytesPerKey: 16 * 1024 * 1024, bytesPerPartition: 256 * 1024 * 1024 }

/** The options with every default in its place. */
export interface ConsumerSettings {
  readonly group: string
  readonly broker: Broker
  readonly store: ConsumerStore
  readonly handlers: readonly Handler[]
  readonly envelope: EnvelopeOptions
  readonly startFrom: StartFrom
  readonly addedPartitions: 'stop' | 'wait' | 'read'
  readonly lanes: number
  readonly maxTransactions: number
  readonly batch: BatchLimits
  readonly retry: RetryPolicy
  readonly timeoutMs: number
  readonly breaker: BreakerPolicy | null
  readonly parked: ParkedBounds
  readonly retriers: number
  readonly retryPollMs: number
  readonly retryLeaseMs: number
  readonly deadLetter: DeadLetterPolicy
  readonly retryTopics: RetryTopics
  readonly bufferMessages: number
  readonly bufferBytes: number
  readonly fetchBytes: number
  readonly idleAdvanceMs: number
  readonly drainMs: number
  readonly lockTimeoutMs: number
  readonly sessionTimeoutMs: number | undefined
  readonly dedupMs: number
  readonly codeVersion: string | null
  readonly clientId: string | undefined
  readonly onPublished: () => void
  readonly clock: Clock
}

export const defaultDedupMs = 7 * 24 * 3_600_000

/** Fills in the defaults. Throws `CONFIG_INVALID` for numbers that make no sense. */
export function consumerSettings(options: ConsumerOptions): ConsumerSettings {
  const retryTopics = retryTopicsOf(options)
  const settings: ConsumerSettings = {
    group: options.group,
    broker: options.broker,
    store: options.store,
    handlers: options.handlers,
    envelope: options.idempotencyId === undefined ? {} : { idempotencyId: options.idempotencyId },
    startFrom: options.startFrom ?? 'earliest',
    addedPartitions: options.addedPartitions ?? 'stop',
    lanes: wholeFromOne('lanes', options.lanes ?? 4),
    maxTransactions: wholeFromOne('maxTransactions', options.maxTransactions ?? 4),
    batch: { ...defaultBatchLimits, ...options.batch },
    retry: retryPolicy(defaultRetryPolicy, options.retry),
    timeoutMs: atLeastOne('timeoutMs', options.timeoutMs ?? 30_000),
    breaker: options.breaker === false ? null : { ...defaultBreakerPolicy, ...options.breaker },
    parked: { ...defaultParkedBounds, ...options.parked },
    retriers: options.retriers ?? 4,
    retryPollMs: atLeastOne('retryPollMs', options.retryPollMs ?? 1_000),
    retryLeaseMs: atLeastOne('retryLeaseMs', options.retryLeaseMs ?? 10_000),
    deadLetter: options.deadLetter ?? (retryTopics.areOn ? 'skip' : 'block'),
    retryTopics,
    bufferMessages: atLeastOne('buffer.messages', options.buffer?.messages ?? 20_000),
    bufferBytes: atLeastOne('buffer.bytes', options.buffer?.bytes ?? 64 * 1024 * 1024),
    fetchBytes: atLeastOne('fetchBytes', options.fetchBytes ?? 4 * 1024 * 1024),
    idleAdvanceMs: atLeastOne('idleAdvanceMs', options.idleAdvanceMs ?? 1_000),
    drainMs: options.drainMs ?? 5_000,
    lockTimeoutMs: atLeastOne('lockTimeoutMs', options.lockTimeoutMs ?? 3_000),
    sessionTimeoutMs: options.sessionTimeoutMs,
    dedupMs: atLeastOne('dedupMs', options.dedupMs ?? defaultDedupMs),
    codeVersion: options.codeVersion ?? null,
    clientId: options.clientId,
    onPublished: options.onPublished ?? ((): void => undefined),
    clock: options.clock ?? systemClock,
  }
  wholeFromOne('batch.maxMessages', settings.batch.maxMessages)
  requireRetryPolicy('retry', settings.retry)
  for (const { name, retry } of settings.handlers)
    if (retry !== undefined) requireRetryPolicy(`retry of the handler ${name}`, retryPolicy(settings.retry, retry))
  if (settings.retriers !== 0) wholeFromOne('retriers', settings.retriers)
  for (const [name, value] of Object.entries(settings.breaker ?? {})) atLeastOne(`breaker.${name}`, value as number)
  for (const [name, value] of Object.entries(settings.parked)) atLeastOne(`parked.${name}`, value as number)
  if (settings.group === '' || /[\0\p{Surrogate}]/u.test(settings.group))
    throw new TidemarkError('CONFIG_INVALID', 'A consumer needs a group: a text that is not empty.')
  if (!isStartFrom(settings.startFrom)) throw new TidemarkError('CONFIG_INVALID', `startFrom: expected ${startFromExpected}.`)
  if (settings.handlers.length === 0)
    throw new TidemarkError('CONFIG_INVALID', `The consumer of the group "${settings.group}" has no handlers.`)
  return settings
}

/**
 * The topics beside those of the events that a group with these options uses. Throws `CONFIG_INVALID` for names that no topic can have, and for
 * `deadLetter: 'block'` beside retry topics.
 */
export function retryTopicsOf(
  options: Pick<ConsumerOptions, 'group' | 'handlers' | 'retryTopics' | 'deadLetterTopic' | 'deadLetter' | 'retry'>,
): RetryTopics {
  const { group, handlers, retryTopics = false, deadLetterTopic = retryTopics !== false, deadLetter, retry } = options
  const blocks = deadLetter === 'block' || handlers.some((handler) => handler.deadLetter === 'block')
  if (retryTopics !== false && blocks) {
    throw new TidemarkError('CONFIG_INVALID', `retryTopics and deadLetter: 'block' do not go together in the group "${group}".`, {
      remedy: "Retry topics give up the order of a key, which 'block' is to keep. Leave one of them out.",
    })
  }
  return new RetryTopics(group, [...new Set(handlers.map(({ definition }) => definition.topic))], {
    retryTopics: retryTopics === true ? {} : retryTopics,
    deadLetterTopic,
    retry: retryPolicy(defaultRetryPolicy, retry),
  })
}

function requireRetryPolicy(name: string, policy: RetryPolicy): void {
  if (policy.maxAttempts !== Number.POSITIVE_INFINITY) wholeFromOne(`${name}.maxAttempts`, policy.maxAttempts)
  if (!Number.isSafeInteger(policy.immediate) || policy.immediate < 0)
    throw new TidemarkError('CONFIG_INVALID', `${name}.immediate: expected a whole number from 0 on, got ${policy.immediate}.`)
}

function atLeastOne(name: string, value: number): number {
  if (Number.isFinite(value) && value >= 1) return value
  throw new TidemarkError('CONFIG_INVALID', `${name}: expected a number from 1 on, got ${value}.`)
}

/** Throws `CONFIG_INVALID` for anything but a whole number from 1 on. */
export function wholeFromOne(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 1) return value
  throw new TidemarkError('CONFIG_INVALID', `${name}: expected a whole number from 1 on, got ${value}.`)
}
