import { isStartFrom, startFromExpected } from '../consumer/partition/first-offsets.ts'
import { defaultParkedBounds } from '../consumer/consumer-options.ts'
import type { ConsumerOptions } from '../consumer/index.ts'
import type { AlertSettings, Notify } from '../dead-letter/index.ts'
import type { DatabaseDriver, OutboxSettings } from '../drivers/port.ts'
import { checkTopicSpecs } from '../message/page.ts'
import type { Broker, TopicSpec } from '../message/port.ts'
import type { Authorize, OperationKind, RunOperationsOptions } from '../operation/index.ts'
import type { RelayOptions } from '../outbox/index.ts'
import type { ConsumeOptions } from './service.ts'
import type { BreakerPolicy } from '../retry/circuit-breaker.ts'
import { type RetryTopicsOptions, areRetryDelays } from '../retry/retry-topics.ts'
import { type RetryPolicy, type RetryTiming, defaultRetryPolicy } from '../retry/retry-policy.ts'
import {
  type SettingCheck,
  atMost,
  callback,
  check,
  duration,
  eitherOf,
  given,
  group,
  invalid,
  madeBy,
  oneOf,
  text,
  truth,
  whole,
} from './setting-check.ts'

/** Settings of a service. All of them have a default; `service('shop')` alone runs on an embedded Postgres. */
export interface ServiceOptions {
  /** Where the service keeps its state. @default an embedded Postgres server, one database per service */
  readonly database?: DatabaseDriver
  /** Where messages travel. `stop` does not close it: services may share it. @default a log in the embedded Postgres server, shared by all services of the directory */
  readonly broker?: Broker
  /** Name of the consumer group. @default the service's name */
  readonly group?: string
  /** `source` of the messages it publishes. @default the service's name */
  readonly source?: string
  /** Relay this service's outbox from this process. Exactly one process relays a stream at a time, however many could. @default true */
  readonly relay?: boolean
  /** Partitions of topics that do not exist yet. @default the broker's */
  readonly partitions?: number
  /**
   * What single topics should be like: made so where they are missing, at the start. One that exists is never changed; in what it differs is told on
   * the diagnostics channel `tidemark:topic:differs`. @default none
   */
  readonly topics?: readonly TopicSpec[]
  /** How the outbox is kept, and how it is relayed. */
  readonly outbox?: ServiceOutboxOptions
  /** How messages are handled, in all groups of the service. */
  readonly consumer?: ServiceConsumerOptions
  /**
   * Tells somebody of dead letters: the first of a group, of another kind, many within a short time or by and by, old ones, and when none is left. Once, however many processes
   * there are. `logNotifier` and `webhookNotifier` of `tidemark/dead-letter` are two. @default nobody is told
   */
  readonly notify?: Notify
  /** When there is something to tell. */
  readonly alerts?: ServiceAlertOptions
  /** Asked before everything an operator does by `operations` and `deadLetters`; a refusal is `NOT_ALLOWED`, and is in the audit log. @default everybody may do everything */
  readonly authorize?: Authorize
  /** Long-running operations in this process. */
  readonly operations?: ServiceOperationOptions
  /** The same as `consumer.lanes`. @default 4 */
  readonly lanes?: number
  /** The same as `consumer.maxTransactions`. @default 4 */
  readonly maxTransactions?: number
  /** The same as `consumer.drainMs`. @default 5,000 ms */
  readonly drainMs?: number
}

/** How a service works on operations. */
export interface ServiceOperationOptions extends Pick<RunOperationsOptions, 'leaseMs' | 'idleMs' | 'atOnce' | 'keepMs'> {
  /** Kinds of your own, beside `redrive`. @default none */
  readonly kinds?: readonly OperationKind[]
  /** Work on operations from `start` on, whoever started them. @default true where the service consumes, or has kinds of its own */
  readonly run?: boolean
}

type RelaySettings = Pick<RelayOptions, 'pageSize' | 'idleMs' | 'leaseMs' | 'maintain'>

/** The outbox of a service. `published`, `streams` and `retention` must be the same in all its processes. */
export interface ServiceOutboxOptions extends OutboxSettings, RelaySettings {}

/** When somebody is told of dead letters. */
export interface ServiceAlertOptions extends Partial<AlertSettings> {
  /** Between two looks. @default 10,000 ms */
  readonly everyMs?: number
}

/** How a service handles messages. What `consume` takes of these goes before. */
export interface ServiceConsumerOptions extends Pick<
  ConsumerOptions,
  | 'addedPartitions'
  | 'lanes'
  | 'maxTransactions'
  | 'batch'
  | 'retry'
  | 'timeoutMs'
  | 'breaker'
  | 'parked'
  | 'retriers'
  | 'retryPollMs'
  | 'retryLeaseMs'
  | 'deadLetter'
  | 'retryTopics'
  | 'deadLetterTopic'
  | 'buffer'
  | 'fetchBytes'
  | 'idleAdvanceMs'
  | 'drainMs'
  | 'lockTimeoutMs'
  | 'sessionTimeoutMs'
  | 'dedupMs'
  | 'codeVersion'
  | 'idempotencyId'
> {
  /** Whom dead letters concern: a team, a person. A group that has some and no owner is a finding. @default nobody */
  readonly owner?: string
  /** Where it is written what to do about them. @default none */
  readonly runbook?: string
}

const lanes = whole(1, 1_024)

function isRising(value: unknown): boolean {
  return Array.isArray(value) && value.every((one, i) => Number.isSafeInteger(one) && (i === 0 ? one > 0 : one > value[i - 1]))
}

const topic = group<TopicSpec>({ name: text, partitions: whole(1, 100_000), retentionMs: whole(0), compact: truth })

function areTopicSpecs(value: unknown): boolean {
  if (!Array.isArray(value)) return false
  try {
    for (const spec of value as readonly unknown[]) check('topics', '', spec, topic)
    checkTopicSpecs(value as readonly TopicSpec[])
    return true
  } catch {
    return false
  }
}

function areKinds(value: unknown): boolean {
  return (
    Array.isArray(value) && value.every((kind: unknown) => typeof kind === 'object' && kind !== null && 'name' in kind && 'step' in kind)
  )
}

const endless: SettingCheck = { expected: 'Infinity', holds: (value) => value === Number.POSITIVE_INFINITY }

const timing = {
  maxAttempts: eitherOf(whole(1), endless),
  baseDelayMs: duration(0),
  maxDelayMs: duration(0),
  jitter: oneOf('full', 'none'),
  deadlineMs: eitherOf(duration(1), { expected: 'null', holds: (value) => value === null }),
}

const delays = atMost('baseDelayMs', 'maxDelayMs')
const ofClass = group<RetryTiming>(timing, delays)
const byClass = group<RetryPolicy['byClass']>({ transient: ofClass, bug: ofClass, incompatible: ofClass })
/** What one event is to have otherwise: the rest is known only beside that of the service. */
const retry = group<RetryPolicy>({ ...timing, immediate: whole(0), byClass }, delays)
const retryOfAll = group<RetryPolicy>(
  { ...timing, immediate: whole(0), byClass },
  atMost('baseDelayMs', 'maxDelayMs', defaultRetryPolicy.maxDelayMs),
)

const breaker = group<BreakerPolicy>({
  outageKeys: whole(1),
  alikeKeys: whole(1),
  probeAfterMs: duration(1),
  maxProbeAfterMs: duration(1),
  maxAlikeMs: duration(1),
})

function isBreaker(value: unknown): boolean {
  if (value === false) return true
  try {
    check('breaker', '', value as object, breaker)
    return true
  } catch {
    return false
  }
}

const retryTopics = group<RetryTopicsOptions>({
  delaysMs: { expected: 'a rising list of milliseconds', holds: areRetryDelays },
  topicName: callback,
})

function areRetryTopics(value: unknown): boolean {
  if (typeof value === 'boolean') return true
  try {
    check('retryTopics', '', value as object, retryTopics)
    return true
  } catch {
    return false
  }
}

const settings = group<ServiceOptions>({
  database: madeBy('open', 'a database driver, such as postgres({ pool }) or memory()'),
  broker: madeBy('appender', 'a broker, such as postgresBroker({ connectionString }) or memoryBroker()'),
  group: text,
  source: text,
  relay: truth,
  partitions: whole(1, 1_024),
  topics: { expected: 'a list of topics, each { name, partitions, retentionMs, compact }', holds: areTopicSpecs },
  lanes,
  maxTransactions: whole(1, 1_024),
  drainMs: duration(0),
  outbox: group<ServiceOutboxOptions>({
    published: oneOf('keep', 'delete'),
    streams: whole(1, 64),
    retention: group<NonNullable<OutboxSettings['retention']>>({
      partitionRows: whole(1),
      ahead: whole(1, 1_000),
      keepMs: whole(0),
      everyMs: duration(1),
    }),
    pageSize: whole(1),
    idleMs: duration(1),
    leaseMs: duration(1),
    maintain: truth,
  }),
  consumer: group<ServiceConsumerOptions>({
    addedPartitions: oneOf('stop', 'wait', 'read'),
    lanes,
    maxTransactions: whole(1, 1_024),
    batch: group<NonNullable<ConsumerOptions['batch']>>({ maxMessages: whole(1), maxBytes: whole(1), targetMs: duration(1) }),
    retry: retryOfAll,
    timeoutMs: duration(1),
    breaker: { expected: 'false, or { outageKeys, alikeKeys, probeAfterMs, maxProbeAfterMs, maxAlikeMs }', holds: isBreaker },
    parked: group<NonNullable<ConsumerOptions['parked']>>(
      { bytesPerKey: whole(1), bytesPerPartition: whole(1) },
      atMost('bytesPerKey', 'bytesPerPartition', defaultParkedBounds.bytesPerPartition),
    ),
    retriers: whole(0, 1_024),
    retryPollMs: duration(1),
    // Renewed three times within it: a shorter one is lost to a process that is only busy.
    retryLeaseMs: duration(100),
    deadLetter: oneOf('block', 'skip'),
    retryTopics: {
      expected:
        'true, false, or { delaysMs, topicName }, with delaysMs a list of milliseconds that rise from one to the next, up to a year',
      holds: areRetryTopics,
    },
    deadLetterTopic: eitherOf(truth, callback),
    buffer: group<NonNullable<ConsumerOptions['buffer']>>({ messages: whole(1), bytes: whole(1) }),
    fetchBytes: whole(1),
    idleAdvanceMs: duration(1),
    drainMs: duration(0),
    lockTimeoutMs: duration(1),
    sessionTimeoutMs: duration(1),
    dedupMs: whole(1),
    codeVersion: text,
    idempotencyId: eitherOf(text, callback),
    owner: text,
    runbook: text,
  }),
  notify: callback,
  authorize: callback,
  operations: group<ServiceOperationOptions>({
    kinds: { expected: 'a list of kinds of operations', holds: areKinds },
    run: truth,
    leaseMs: duration(100),
    idleMs: duration(1),
    atOnce: whole(1, 64),
    keepMs: whole(0),
  }),
  alerts: group<ServiceAlertOptions>({
    everyMs: duration(1),
    growth: whole(1),
    windowMs: whole(1),
    agesMs: { expected: 'a rising list of whole numbers (milliseconds)', holds: isRising },
  }),
})

/** What the database is told of the outbox. */
export function outboxSettings({ outbox = {} }: ServiceOptions): OutboxSettings {
  const { published, streams, retention } = outbox
  return given({ published, streams, retention }) as OutboxSettings
}

/** What each relay is told. */
export function relaySettings({ outbox = {} }: ServiceOptions): RelaySettings {
  const { pageSize, idleMs, leaseMs, maintain } = outbox
  return given({ pageSize, idleMs, leaseMs, maintain }) as RelaySettings
}

/** What the consumer of each group is told. */
export function consumerSettings({ lanes, maxTransactions, drainMs, consumer }: ServiceOptions): ServiceConsumerOptions {
  return { ...given({ lanes, maxTransactions, drainMs }), ...given(consumer ?? {}) } as ServiceConsumerOptions
}

const consumption = group<ConsumeOptions & { readonly batch?: boolean }>({
  group: text,
  startFrom: { expected: startFromExpected, holds: isStartFrom },
  owner: text,
  runbook: text,
  name: text,
  transaction: oneOf('batch', 'message'),
  deadLetter: oneOf('block', 'skip'),
  idempotent: oneOf('inbox', 'natural'),
  retry,
  timeoutMs: duration(1),
  batch: truth,
})

/** Fails with `CONFIG_INVALID` for an option that `consume` does not have, or a value that the option does not take. `of` names the call. */
export function checkConsume(of: string, options: ConsumeOptions): void {
  check(of, '', options, consumption)
}

/** Fails with `CONFIG_INVALID` for a name no database or group can have, an unknown option, or a value that the option does not take. */
export function checkService(name: string, options: ServiceOptions): void {
  if (!/^[a-z][a-z0-9_-]{0,47}$/.test(name)) {
    throw invalid(`a service's name is 1 to 48 lower-case letters, digits, "-" and "_", a letter first; got ${JSON.stringify(name)}`)
  }
  const of = `service("${name}")`
  check(of, '', options, settings)
  for (const option of ['lanes', 'maxTransactions', 'drainMs'] as const) {
    if (options[option] !== undefined && options.consumer?.[option] !== undefined)
      throw invalid(
        `${of}: ${option} and consumer.${option} are one setting; got ${options[option]} and ${options.consumer[option]}. Give one`,
      )
  }
  const { retryTopics = false, deadLetter } = options.consumer ?? {}
  if (retryTopics !== false && deadLetter === 'block')
    throw invalid(`${of}: consumer.retryTopics gives up the order of a key, which consumer.deadLetter 'block' is to keep; leave one out`)
  if (options.outbox?.published === 'delete' && options.outbox.retention?.keepMs !== undefined)
    throw invalid(
      `${of}: outbox.retention.keepMs is the age of an archive, and with outbox.published "delete" there is none; leave one out`,
    )
}
