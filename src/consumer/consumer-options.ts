import { TidemarkError } from '../errors.ts'
import type { Clock } from '../internal/clock.ts'
import { systemClock } from '../internal/clock.ts'
import type { Broker } from '../message/port.ts'
import type { EnvelopeOptions } from '../message/read-envelope.ts'
import { type BatchLimits, defaultBatchLimits } from './batch-size.ts'
import { type DeadLetterPolicy, type RetryPolicy, defaultRetryPolicy } from './failure-policy.ts'
import { type StartFrom, isStartFrom, startFromExpected } from './first-offsets.ts'
import type { Handler } from './handler.ts'
import type { ConsumerStore } from './port.ts'

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
  readonly retry?: Partial<RetryPolicy>
  /** What a dead letter does to the messages of its key behind it. @default 'block' */
  readonly deadLetter?: DeadLetterPolicy
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
  readonly deadLetter: DeadLetterPolicy
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

/** Fills in the defaults. Throws `CONFIG_INVALID` for numbers that make no sense. */
export function consumerSettings(options: ConsumerOptions): ConsumerSettings {
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
    retry: { ...defaultRetryPolicy, ...options.retry },
    deadLetter: options.deadLetter ?? 'block',
    bufferMessages: atLeastOne('buffer.messages', options.buffer?.messages ?? 20_000),
    bufferBytes: atLeastOne('buffer.bytes', options.buffer?.bytes ?? 64 * 1024 * 1024),
    fetchBytes: atLeastOne('fetchBytes', options.fetchBytes ?? 4 * 1024 * 1024),
    idleAdvanceMs: atLeastOne('idleAdvanceMs', options.idleAdvanceMs ?? 1_000),
    drainMs: options.drainMs ?? 5_000,
    lockTimeoutMs: atLeastOne('lockTimeoutMs', options.lockTimeoutMs ?? 3_000),
    sessionTimeoutMs: options.sessionTimeoutMs,
    dedupMs: atLeastOne('dedupMs', options.dedupMs ?? 7 * 24 * 3_600_000),
    codeVersion: options.codeVersion ?? null,
    clientId: options.clientId,
    onPublished: options.onPublished ?? ((): void => undefined),
    clock: options.clock ?? systemClock,
  }
  wholeFromOne('batch.maxMessages', settings.batch.maxMessages)
  wholeFromOne('retry.maxAttempts', settings.retry.maxAttempts)
  if (settings.group === '' || /[\0\p{Surrogate}]/u.test(settings.group))
    throw new TidemarkError('CONFIG_INVALID', 'A consumer needs a group: a text that is not empty.')
  if (!isStartFrom(settings.startFrom)) throw new TidemarkError('CONFIG_INVALID', `startFrom: expected ${startFromExpected}.`)
  if (settings.handlers.length === 0)
    throw new TidemarkError('CONFIG_INVALID', `The consumer of the group "${settings.group}" has no handlers.`)
  return settings
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
