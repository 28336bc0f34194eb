import type { OutboxMessage } from '../../message/outbox-message.ts'
import { recordBytes } from '../../message/page.ts'
import { passedOn } from '../../message/passed-on.ts'
import { aggregateTypeOf } from '../../message/topic.ts'
import type { Failure } from '../../retry/failure.ts'
import type { BatchSettings } from './batch-settings.ts'
import type { Entry } from './entry.ts'
import { type PassOn, passOnHeaders } from './original-record.ts'
import type { DeadLetter, FailedAttempt } from '../port.ts'

/** A message that failed, and its charged runs. */
export interface Failed {
  readonly entry: Entry
  readonly failure: Failure
  readonly attempts: readonly FailedAttempt[]
  readonly count: number
}

type PassOnSettings = Pick<BatchSettings, 'retryTopics' | 'clock' | 'maxRecordBytes'> & { readonly group: string }

/** What it would be, if a broker of these limits takes it. */
interface Copy {
  readonly topic: string
  readonly bytes: number
  readonly message: OutboxMessage
}

/** The relay adds its coordinate, which is never longer. */
const mostCoordinateBytes = 256

/**
 * To the retry topic where it waits for its next attempt; for at least `pauseMs`, where it was not charged. A failure, where no broker would take the copy: in the outbox it would
 * be held, and all that is published for its key with it.
 */
export function toRetryTopic(
  { entry, failure, attempts, count }: Failed,
  pauseMs: number | null,
  settings: PassOnSettings,
): { readonly copy: OutboxMessage } | { readonly tooLarge: Failure } {
  const { retryTopics, clock, group } = settings
  const source = sourceOf(entry, settings)
  const { topic, delayMs } = pauseMs === null ? retryTopics.afterAttempts(source, count) : retryTopics.afterPause(source, pauseMs)
  const { errorClass, reason } = failure
  const copy = copyOf(entry, topic, source, { group, count, attempts, errorClass, error: reason, dueAt: clock.now() + delayMs })
  return copy.bytes <= settings.maxRecordBytes ? { copy: copy.message } : { tooLarge: tooLarge(failure, copy, settings) }
}

/** It died of what it failed of, so it keeps the place in the code. */
function tooLarge(failure: Failure, { topic, bytes }: Copy, { maxRecordBytes }: PassOnSettings): Failure {
  const { errorClass, reason } = failure
  const why = `its copy would have up to ${bytes} bytes, and the broker takes ${maxRecordBytes}`
  const words = `It cannot wait in ${topic} for another attempt: ${why}. It had failed with ${errorClass}: ${reason}`
  return { ...failure, is: 'poison', errorClass: 'BROKER_RECORD_REFUSED', reason: words, laterMs: null }
}

/** The copy of a dead letter for foreign tools, where one is wanted and a broker would take it. */
export function toDeadLetterTopic(entry: Entry, letter: DeadLetter, settings: PassOnSettings): readonly OutboxMessage[] {
  const source = sourceOf(entry, settings)
  const topic = settings.retryTopics.deadLetterTopic(source)
  if (topic === null) return []
  const { attempts, retryCount: count = attempts.length, errorClass, reason: error } = letter
  const copy = copyOf(entry, topic, source, { group: settings.group, count, attempts, errorClass, error, dueAt: null })
  return copy.bytes <= settings.maxRecordBytes ? [copy.message] : []
}

function sourceOf({ record }: Entry, { retryTopics }: PassOnSettings): string {
  return retryTopics.tier(record.topic)?.source ?? record.topic
}

function copyOf({ record, original, envelope }: Entry, topic: string, source: string, passOn: PassOn): Copy {
  const { key, value } = original
  const aggregateType = aggregateTypeOf(source)
  const place = `${record.topic}-${record.partition}-${record.offset}`
  const headers = passOnHeaders(original, passOn)
  const message = passedOn({ topic, key, value, headers, type: envelope?.type ?? null, aggregateType, place })
  return { topic, bytes: recordBytes({ key, value, headers }) + mostCoordinateBytes, message }
}
