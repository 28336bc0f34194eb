import { TidemarkError } from '../errors.ts'
import { compareCoordinates, formatCoordinate, type Coordinate } from './coordinate.ts'
import type { OutgoingRecord, Refusal, SequencedRecord, StreamClaim, TopicSpec } from './port.ts'

/** What of a page is to be appended, and what is refused. */
export interface CheckedPage {
  readonly records: readonly SequencedRecord[]
  readonly refusals: readonly Refusal[]
}

/**
 * Looks at a page before it is appended: refuses records that are too large, with those of their keys that follow, and throws `INPUT_INVALID` when coordinates do not rise or are not
 * of the claimed stream, since leaving out repeats relies on both.
 */
export function checkPage(page: readonly SequencedRecord[], claim: StreamClaim, maxRecordBytes: number): CheckedPage {
  const refusals: Refusal[] = []
  const refusedKeys = new Set<string>()
  const records = page.filter((record, index) => {
    if (!isWithin(record, maxRecordBytes)) {
      refusals.push({ index, reason: `the record has ${recordBytes(record)} bytes; the broker takes ${maxRecordBytes}` })
      if (record.key !== null) refusedKeys.add(keyOf(record))
      return false
    }
    // Appended now, it would stand before the refused one of its key, should that be sent later.
    if (refusedKeys.size === 0 || record.key === null || !refusedKeys.has(keyOf(record))) return true
    refusals.push({ index, reason: 'an earlier record of its key in the same page was refused' })
    return false
  })
  let before: Coordinate | null = null
  for (const { coordinate } of page) {
    if (coordinate === null) continue
    const { sourceEpoch, generation, stream } = coordinate
    if (sourceEpoch !== claim.sourceEpoch || generation !== claim.generation || stream !== claim.stream) {
      throw new TidemarkError(
        'INPUT_INVALID',
        `The coordinate ${formatCoordinate(coordinate)} is not of the stream ${claim.sourceEpoch}/${claim.generation}/${claim.stream} that this appender sends.`,
      )
    }
    if (before !== null && compareCoordinates(before, coordinate) >= 0) {
      throw new TidemarkError(
        'INPUT_INVALID',
        `Coordinates of a page must rise; ${formatCoordinate(coordinate)} follows ${formatCoordinate(before)}.`,
      )
    }
    before = coordinate
  }
  return { records, refusals }
}

function keyOf({ topic, key }: SequencedRecord): string {
  return `${topic} ${key!.toString('latin1')}`
}

/** Leaves out what stands at or before the stream's last coordinate of the same life and generation. */
export function withoutRepeats(records: readonly SequencedRecord[], last: Coordinate | null): readonly SequencedRecord[] {
  if (last === null) return records
  return records.filter(
    ({ coordinate: c }) =>
      c === null || c.sourceEpoch !== last.sourceEpoch || c.generation !== last.generation || compareCoordinates(c, last) > 0,
  )
}

/** The highest coordinate of a page. */
export function lastCoordinate(records: readonly SequencedRecord[]): Coordinate | null {
  return records.findLast(({ coordinate }) => coordinate !== null)?.coordinate ?? null
}

/** Key, value and headers together, in bytes. */
export function recordBytes({ key, value, headers }: Pick<OutgoingRecord, 'key' | 'value' | 'headers'>): number {
  let size = (key?.length ?? 0) + (value?.length ?? 0)
  for (const [name, content] of headers) {
    size += Buffer.byteLength(name) + (content === null ? 0 : typeof content === 'string' ? Buffer.byteLength(content) : content.length)
  }
  return size
}

/** Is `recordBytes` at most `limit`? Nearly every record is so far below it that no text has to be measured, which takes longer than all else. */
export function isWithin(record: Pick<OutgoingRecord, 'key' | 'value' | 'headers'>, limit: number): boolean {
  const { key, value, headers } = record
  let units = 0
  for (const [name, content] of headers) units += name.length + (content === null ? 0 : content.length)
  // UTF-8 takes at most three bytes for a unit of text.
  return (key?.length ?? 0) + (value?.length ?? 0) + 3 * units <= limit || recordBytes(record) <= limit
}

/** A source epoch as `<source>.<life>`. One without a number is its own source, in life 0. */
export function sourceLife(sourceEpoch: string): { readonly source: string; readonly life: number } {
  const [, source, life] = /^(.*)\.(\d{1,15})$/s.exec(sourceEpoch) ?? []
  return source === undefined ? { source: sourceEpoch, life: 0 } : { source, life: Number(life) }
}

/** Throws `INPUT_INVALID` for names and numbers that not every broker takes. */
export function checkTopicSpecs(specs: readonly TopicSpec[]): void {
  for (const { name, partitions = 1, retentionMs = 0 } of specs) {
    if (!/^[A-Za-z0-9._-]{1,249}$/.test(name) || name === '.' || name === '..') {
      throw new TidemarkError(
        'INPUT_INVALID',
        `The topic name ${JSON.stringify(name)} has to be of letters, digits, '.', '_' and '-', at most 249.`,
      )
    }
    if (!Number.isInteger(partitions) || partitions < 1) {
      throw new TidemarkError('INPUT_INVALID', `The topic "${name}" needs a whole number of partitions, at least 1; got ${partitions}.`)
    }
    if (!(retentionMs >= 0))
      throw new TidemarkError('INPUT_INVALID', `The topic "${name}" has a retention of ${retentionMs} ms; it has to be 0 or more.`)
  }
}
