import { TidemarkError } from '../errors.ts'
import type { LogRecord } from '../message/port.ts'
import { type EnvelopeOptions, readEnvelope } from '../message/read-envelope.ts'

/** What tells a repeat of a topic's messages: their place in their sender's output, which is known for ever, or their ids. */
export type ProducedWith = 'coordinate' | 'id' | 'unknown'

export interface HorizonInput {
  /** Milliseconds since 1970. */
  readonly now: number
  /** The shortest that is set in any process of the service: the ring turns at its pace. */
  readonly dedupMs: number
  /** From the inbox, by `rememberedSince`; `null`: nothing was ever forgotten. */
  readonly rememberedSince: number | null
  /** `retentionMs`: how long the broker keeps the topic's records, `null` where nobody knows. */
  readonly topics: readonly { readonly topic: string; readonly retentionMs: number | null; readonly producedWith: ProducedWith }[]
  /** When the log took the oldest dead letter without a coordinate; `null`: there is none. */
  readonly oldestDeadLetter: number | null
}

/** Something that may come again after its id is forgotten, and would be handled again then. */
export type HorizonExcess =
  /** What stands in the topic can be read again when its ids are forgotten: after a position was set back, or by a new start at the beginning. */
  | { readonly what: 'topic'; readonly topic: string; readonly retentionMs: number; readonly producedWith: ProducedWith }
  /** A dead letter is so old that a copy of it may have been handled and forgotten. */
  | { readonly what: 'dead letter'; readonly loggedAt: number }

export interface DedupHorizon {
  /** Repeats of messages without a coordinate are recognised for so long at the least. Those with one, and the same offset, always are. */
  readonly recognisedMs: number
  /** Since when every handled id is remembered; `null`: since ever. Never later than `recognisedMs` ago, once the ring has been turned at its pace for so long. */
  readonly rememberedSince: number | null
  readonly exceededBy: readonly HorizonExcess[]
}

/** How long repeats are recognised, and what goes beyond. Pure. */
export function dedupHorizon({ now, dedupMs, rememberedSince, topics, oldestDeadLetter }: HorizonInput): DedupHorizon {
  const recognisedMs = rememberedSince === null ? dedupMs : Math.min(dedupMs, Math.max(0, now - rememberedSince))
  const exceededBy: HorizonExcess[] = []
  for (const { topic, retentionMs, producedWith } of topics) {
    if (producedWith !== 'coordinate' && retentionMs !== null && retentionMs > dedupMs)
      exceededBy.push({ what: 'topic', topic, retentionMs, producedWith })
  }
  if (oldestDeadLetter !== null && isBeyond(oldestDeadLetter, rememberedSince))
    exceededBy.push({ what: 'dead letter', loggedAt: oldestDeadLetter })
  return { recognisedMs, rememberedSince, exceededBy }
}

export interface HorizonCheck extends EnvelopeOptions {
  /** Of the group's inbox. */
  readonly rememberedSince: number | null
}

/**
 * May a record be handled again, as far as the inbox can tell? `false`: it has an id and no coordinate, and the log took it before everything that the inbox
 * remembers, so a copy of it may have been handled, and nobody knows.
 */
export function isWithinHorizon(record: LogRecord, { rememberedSince, ...envelope }: HorizonCheck): boolean {
  if (!isBeyond(record.timestamp, rememberedSince)) return true
  const { coordinate, identityOrigin } = readEnvelope(record, envelope)
  // A record without any id has no copies that could be told; its offset says all there is to know.
  return coordinate !== null || identityOrigin === 'position'
}

/**
 * For whoever redrives or reads again: rejects a record beyond the horizon with `HORIZON_EXCEEDED`, unless a person forces it. `forcedBy` is the name that
 * stands in the audit log for it.
 */
export function requireWithinHorizon(record: LogRecord, check: HorizonCheck & { readonly forcedBy?: string }): void {
  if (check.forcedBy !== undefined && check.forcedBy !== '') return
  if (isWithinHorizon(record, check)) return
  const { topic, partition, offset, timestamp } = record
  const since = new Date(check.rememberedSince!).toISOString()
  throw new TidemarkError(
    'HORIZON_EXCEEDED',
    `The message ${topic}/${partition}/${offset} came ${new Date(timestamp).toISOString()}, and handled ids are remembered since ${since} only: a copy of it may have taken effect.`,
    {
      details: { topic, partition, offset, loggedAt: timestamp, rememberedSince: check.rememberedSince },
      remedy: 'Look whether its effect is there, and force it by name if not.',
    },
  )
}

function isBeyond(time: number, rememberedSince: number | null): boolean {
  return rememberedSince !== null && time < rememberedSince
}
