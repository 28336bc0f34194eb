import { TidemarkError } from '../errors.ts'
import { isTopicName } from '../message/topic.ts'
import { type RetryPolicy, retryDelayMs } from './retry-policy.ts'

/** Topics to which failed messages go, each to wait there for its time. */
export interface RetryTopicsOptions {
  /**
   * How long a message waits in each of them, rising; with the last one used again as long as the retry policy allows more attempts.
   * @default the pauses of the retry policy without jitter, one for each attempt but the first, at most 8: 1, 2, 4 and 8 s
   */
  readonly delaysMs?: readonly number[]
  /** Their names; `tier` from 1 on. Must not change while messages wait in them. @default `<topic>.<group>.retry.<tier>` */
  readonly topicName?: (of: { readonly topic: string; readonly group: string; readonly tier: number }) => string
}

/** A copy of every dead letter for foreign tools. `true`: in the topic `<topic>.<group>.dlq`. */
export type DeadLetterTopic = boolean | ((of: { readonly topic: string; readonly group: string }) => string)

/** What a retry topic is. */
export interface RetryTier {
  /** The topic the messages came from. */
  readonly source: string
  /** From 1 on. */
  readonly tier: number
  readonly delayMs: number
}

const mostTiers = 8
/** A year. */
const longestDelayMs = 365 * 24 * 3_600_000

/** The topics beside those that a group reads: where its failed messages wait, and where copies of its dead letters go. Decides, and does nothing. */
export class RetryTopics {
  readonly #delaysMs: readonly number[]
  readonly #tiers = new Map<string, RetryTier>()
  readonly #names = new Map<string, readonly string[]>()
  readonly #deadLetters = new Map<string, string>()

  /** Throws `CONFIG_INVALID` for pauses that do not rise, and for names that Kafka does not take or that two topics would share. */
  constructor(group: string, sources: readonly string[], settings: RetryTopicsSettings) {
    const { retryTopics, deadLetterTopic, retry } = settings
    this.#delaysMs = retryTopics === false ? [] : delaysOf(retryTopics, retry)
    const taken = new Set(sources)
    for (const topic of sources) {
      const names = this.#delaysMs.map((_, i) => taking(taken, retryTopicName(retryTopics, { topic, group, tier: i + 1 }), 'retryTopics'))
      this.#names.set(topic, names)
      for (const [i, name] of names.entries()) this.#tiers.set(name, { source: topic, tier: i + 1, delayMs: this.#delaysMs[i]! })
      if (deadLetterTopic !== false)
        this.#deadLetters.set(topic, taking(taken, deadLetterName(deadLetterTopic, { topic, group }), 'deadLetterTopic'))
    }
  }

  /** Do failed messages go to topics, rather than wait in the database? */
  get areOn(): boolean {
    return this.#delaysMs.length > 0
  }

  /** Topics to be read beside the others. */
  get topics(): readonly string[] {
    return [...this.#tiers.keys()]
  }

  /** All that must exist, each with the topic whose messages it takes. */
  get all(): readonly { readonly name: string; readonly source: string }[] {
    const tiers = [...this.#tiers].map(([name, { source }]) => ({ name, source }))
    return [...tiers, ...[...this.#deadLetters].map(([source, name]) => ({ name, source }))]
  }

  /** `undefined`: no retry topic. */
  tier(topic: string): RetryTier | undefined {
    return this.#tiers.get(topic)
  }

  /** Where a message goes that has failed so often. */
  afterAttempts(source: string, attempts: number): { readonly topic: string; readonly delayMs: number } {
    return this.#at(source, Math.min(Math.max(attempts, 1), this.#delaysMs.length) - 1)
  }

  /** Where it waits for at least so long; in the last one, where none is long enough. */
  afterPause(source: string, ms: number): { readonly topic: string; readonly delayMs: number } {
    const found = this.#delaysMs.findIndex((delayMs) => delayMs >= ms)
    return this.#at(source, found === -1 ? this.#delaysMs.length - 1 : found)
  }

  /** `null`: no copies are wanted. */
  deadLetterTopic(source: string): string | null {
    return this.#deadLetters.get(source) ?? null
  }

  #at(source: string, i: number): { readonly topic: string; readonly delayMs: number } {
    return { topic: this.#names.get(source)![i]!, delayMs: this.#delaysMs[i]! }
  }
}

export interface RetryTopicsSettings {
  readonly retryTopics: RetryTopicsOptions | false
  readonly deadLetterTopic: DeadLetterTopic
  readonly retry: RetryPolicy
}

function delaysOf({ delaysMs }: RetryTopicsOptions, retry: RetryPolicy): readonly number[] {
  if (delaysMs === undefined) {
    const tiers = Math.min(Math.max(1, retry.maxAttempts - 1), mostTiers)
    return Array.from({ length: tiers }, (_, i) => retryDelayMs({ ...retry, jitter: 'none' }, i + 1, 0))
  }
  if (areRetryDelays(delaysMs)) return delaysMs
  throw new TidemarkError(
    'CONFIG_INVALID',
    `retryTopics.delaysMs: expected milliseconds that rise from one to the next, at least one, from 0 to a year; got ${JSON.stringify(delaysMs)}.`,
  )
}

/** Is this what `delaysMs` may be? */
export function areRetryDelays(value: unknown): value is readonly number[] {
  if (!Array.isArray(value) || value.length === 0) return false
  return value.every((ms: unknown, i) => typeof ms === 'number' && ms >= 0 && ms <= longestDelayMs && (i === 0 || ms > value[i - 1]))
}

function retryTopicName(options: RetryTopicsOptions | false, of: { topic: string; group: string; tier: number }): string {
  const named = options === false ? undefined : options.topicName?.(of)
  return named ?? `${of.topic}.${of.group}.retry.${of.tier}`
}

function deadLetterName(option: DeadLetterTopic, of: { topic: string; group: string }): string {
  return typeof option === 'function' ? option(of) : `${of.topic}.${of.group}.dlq`
}

function taking(taken: Set<string>, name: string, option: string): string {
  if (!isTopicName(name)) {
    throw new TidemarkError(
      'CONFIG_INVALID',
      `${option}: "${name}" is no name of a topic: 1 to 249 of ASCII letters, digits, ".", "_" and "-".`,
      {
        remedy: option === 'retryTopics' ? 'Give it a topicName.' : 'Give it a function that names the topic.',
      },
    )
  }
  if (taken.has(name))
    throw new TidemarkError('CONFIG_INVALID', `${option}: two topics would have the name ${name}, and each needs its own.`)
  taken.add(name)
  return name
}
