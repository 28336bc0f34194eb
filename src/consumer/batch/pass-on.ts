import type { OutboxMessage } from '../../message/outbox-message.ts'
import { passedOn } from '../../message/passed-on.ts'
import { aggregateTypeOf } from '../../message/topic.ts'
import type { Failure } from '../../retry/failure.ts'
import type { BatchSettings } from './batch-settings.ts'
import type { Entry } from './entry.ts'
import { type PassOn, passOnHeaders } from './original-record.ts'
import type { DeadLetter, FailedAttempt } from '../port.ts'

/** A message that failed, and its charged runs. */
interface Failed {
  readonly entry: Entry
  readonly failure: Failure
  readonly attempts: readonly FailedAttempt[]
  readonly count: number
}

type PassOnSettings = Pick<BatchSettings, 'retryTopics' | 'clock'> & { readonly group: string }

/** To the retry topic where it waits for its next attempt; for at least `pauseMs`, where it was not charged. */
export function toRetryTopic({ entry, failure, attempts, count }: Failed, pauseMs: number | null, settings: PassOnSettings): OutboxMessage {
  const { retryTopics, clock, group } = settings
  const source = sourceOf(entry, settings)
  const { topic, delayMs } = pauseMs === null ? retryTopics.afterAttempts(source, count) : retryTopics.afterPause(source, pauseMs)
  const { errorClass, reason } = failure
  return copyOf(entry, topic, source, { group, count, attempts, errorClass, error: reason, dueAt: clock.now() + delayMs })
}

/** The copy of a dead letter for foreign tools, where one is wanted. */
export function toDeadLetterTopic(entry: Entry, letter: DeadLetter, settings: PassOnSettings): readonly OutboxMessage[] {
  const source = sourceOf(entry, settings)
  const topic = settings.retryTopics.deadLetterTopic(source)
  if (topic === null) return []
  const { attempts, retryCount: count = attempts.length, errorClass, reason: error } = letter
  return [copyOf(entry, topic, source, { group: settings.group, count, attempts, errorClass, error, dueAt: null })]
}

function sourceOf({ record }: Entry, { retryTopics }: PassOnSettings): string {
  return retryTopics.tier(record.topic)?.source ?? record.topic
}

function copyOf({ record, original, envelope }: Entry, topic: string, source: string, passOn: PassOn): OutboxMessage {
  const { key, value } = original
  const aggregateType = aggregateTypeOf(source)
  const place = `${record.topic}-${record.partition}-${record.offset}`
  return passedOn({ topic, key, value, headers: passOnHeaders(original, passOn), type: envelope?.type ?? null, aggregateType, place })
}
