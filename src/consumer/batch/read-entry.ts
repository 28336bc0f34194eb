import { inboxIdentity } from '../../inbox/identity.ts'
import type { Coordinate } from '../../message/coordinate.ts'
import type { Envelope } from '../../message/envelope.ts'
import { type EnvelopeOptions, readEnvelope } from '../../message/read-envelope.ts'
import type { RetryTopics } from '../../retry/retry-topics.ts'
import type { Entry } from './entry.ts'
import type { Handler } from '../handler.ts'
import { coordinateOf, originalOf } from './original-record.ts'

interface ReadSettings {
  readonly envelope: EnvelopeOptions
  readonly retryTopics: RetryTopics
}

/** The envelope of a record, read once; in a retry topic, that of what was passed on. */
export function readEntry(entry: Entry, { envelope, retryTopics }: ReadSettings): Envelope {
  if (entry.envelope !== null) return entry.envelope
  const tier = retryTopics.areOn ? retryTopics.tier(entry.record.topic) : undefined
  if (tier !== undefined) {
    const original = originalOf(entry.record)
    // Whoever put it there without a word said by the topic how often it has failed.
    entry.earlier = original.known ? original : { ...original, count: tier.tier }
  }
  return (entry.envelope = readEnvelope(entry.original, envelope))
}

/** Where the record stands in the output of whoever sent it into this topic. */
export function senderPlace({ earlier, record }: Entry, envelope: Envelope): Coordinate | null {
  return earlier === null ? envelope.coordinate : coordinateOf(record)
}

/** What the inbox knows the message by; `null` when its place already says whether it was handled, or a repeat does no harm. */
export function inboxIdOf(entry: Entry, envelope: Envelope, handler: Handler): string | null {
  if (handler.idempotent === 'natural') return null
  const hasPlace = envelope.coordinate !== null || envelope.identityOrigin === 'position'
  // A place in the first topic says nothing of a copy that was sent into this one twice.
  if (hasPlace && (entry.earlier === null || coordinateOf(entry.record) !== null)) return null
  return inboxIdentity(envelope.identity)
}
