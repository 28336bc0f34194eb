import { TidemarkError } from '../../errors.ts'
import type { Broker } from '../../message/port.ts'

/**
 * Where a group begins that never read a topic: at the first message kept, behind the last one, at the first not older than a time, or where a
 * group of the broker has committed, this group's own name or another one's.
 */
export type StartFrom = 'earliest' | 'latest' | 'committed' | { readonly committed: string } | Date

export const startFromExpected = "'earliest', 'latest', 'committed', { committed: 'name of a group' } or a Date"

/** For callers without types. */
export function isStartFrom(value: unknown): value is StartFrom {
  if (value instanceof Date) return !Number.isNaN(value.getTime())
  if (typeof value !== 'object' || value === null) return value === 'earliest' || value === 'latest' || value === 'committed'
  const names = Object.keys(value)
  return names.length === 1 && 'committed' in value && typeof value.committed === 'string' && value.committed !== ''
}

export interface FirstRequest {
  readonly broker: Broker
  readonly group: string
  readonly startFrom: StartFrom
  readonly topic: string
  /** The first offset kept in each partition. */
  readonly earliest: readonly number[]
}

/** The first offset of each partition. Rejects with `CONFIG_INVALID` or `OFFSET_OUT_OF_RANGE` where there is nothing to adopt, or nothing left of it. */
export async function firstOffsets(request: FirstRequest): Promise<readonly number[]> {
  const { broker, group, startFrom, topic, earliest } = request
  if (startFrom === 'earliest') return earliest
  if (startFrom === 'latest' || startFrom instanceof Date) return broker.offsets(topic, startFrom)
  const from = startFrom === 'committed' ? group : startFrom.committed
  const committed = await broker.committed(from, topic)
  if (committed.every((offset) => offset === null)) throw nothingCommitted(group, from, topic)
  requireInRange(from, topic, committed, earliest, await broker.offsets(topic, 'latest'))
  // A loop commits only where it has read something, so what is in the others was handled by nobody.
  return committed.map((offset, partition) => offset ?? earliest[partition]!)
}

/** A slip in the name must not read everything again, nor a group whose offsets the broker has forgotten. */
function nothingCommitted(group: string, from: string, topic: string): TidemarkError {
  return new TidemarkError(
    'CONFIG_INVALID',
    `Group "${group}" is to begin where the group "${from}" has committed, and that has committed nothing in ${topic}.`,
    {
      details: { group, from, topic },
      remedy:
        "Look whether the name is right and whether it read this topic; a broker forgets the offsets of a group without members after some days. Another group's are adopted by startFrom: { committed: 'its name' }. To begin this topic elsewhere, say 'earliest', 'latest' or a Date: topics that have been read keep their positions.",
    },
  )
}

function requireInRange(
  from: string,
  topic: string,
  committed: readonly (number | null)[],
  earliest: readonly number[],
  latest: readonly number[],
): void {
  for (const [partition, offset] of committed.entries()) {
    const [startOffset, endOffset] = [earliest[partition]!, latest[partition]!]
    if (offset === null || (offset >= startOffset && offset <= endOffset)) continue
    const text = `Group "${from}" has committed offset ${offset} of ${topic}-${partition}, but the log holds only ${startOffset} to ${endOffset}.`
    throw new TidemarkError('OFFSET_OUT_OF_RANGE', text, {
      details: { group: from, topic, partition, offset, startOffset, endOffset },
      remedy:
        "The messages between are gone, or the topic was changed; nothing was adopted. Decide what they mean to this group, then reset that group's offsets at the broker, or begin by startFrom: 'earliest', 'latest' or a Date.",
    })
  }
}
