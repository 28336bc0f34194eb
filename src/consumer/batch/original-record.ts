import { type Coordinate, parseCoordinate } from '../../message/coordinate.ts'
import { textOf } from '../../message/attributes.ts'
import type { Header, LogRecord } from '../../message/port.ts'
import { withinYears } from '../../message/storable.ts'
import { coordinateHeader } from '../../message/wire.ts'
import type { FailedAttempt } from '../port.ts'

/**
 * What stands on a record in a retry topic or a dead letter topic, beside its own headers. Text, so that everybody can read it.
 *
 * | header | |
 * |---|---|
 * | `tidemark-original-topic`, `-partition`, `-offset`, `-timestamp` | where it was first, and since when (milliseconds since 1970) |
 * | `tidemark-original-coordinate` | its sender's coordinate there, where it had one |
 * | `tidemark-retry-group` | who could not handle it |
 * | `tidemark-retry-count` | charged runs |
 * | `tidemark-retry-attempts` | of these the first and the last ones, as JSON: `[{ "at": milliseconds, "error": text }]` |
 * | `tidemark-retry-at` | when it is due, as ISO 8601; in retry topics only |
 * | `tidemark-error-class`, `tidemark-error` | the last failure |
 */
export const passedOnHeaders = {
  topic: 'tidemark-original-topic',
  partition: 'tidemark-original-partition',
  offset: 'tidemark-original-offset',
  timestamp: 'tidemark-original-timestamp',
  coordinate: 'tidemark-original-coordinate',
  group: 'tidemark-retry-group',
  count: 'tidemark-retry-count',
  attempts: 'tidemark-retry-attempts',
  at: 'tidemark-retry-at',
  errorClass: 'tidemark-error-class',
  error: 'tidemark-error',
} as const

const names: ReadonlySet<string> = new Set(Object.values(passedOnHeaders))

/** A record as it was before it was passed on, and what has happened since. */
export interface Original {
  /** The record itself, where nobody says what it was. */
  readonly record: LogRecord
  /** Does it say anything of what has happened? What others put into a topic need not. */
  readonly known: boolean
  /** Charged runs. */
  readonly count: number
  /** What is known of them, oldest first. */
  readonly attempts: readonly FailedAttempt[]
}

/** Reads what `passOnHeaders` wrote. Never throws: anybody may put records into a topic. */
export function originalOf(record: LogRecord): Original {
  const said = new Map<string, string>()
  for (const [name, value] of record.headers) if (names.has(name)) said.set(name, textOf(value) ?? '')
  if (said.size === 0) return { record, known: false, count: 0, attempts: [] }
  const attempts = attemptsOf(said.get(passedOnHeaders.attempts))
  const count = Math.max(wholeNumber(said.get(passedOnHeaders.count)) ?? 0, attempts.length)
  const headers = record.headers.filter(([name]) => !names.has(name))
  const [topic, partition, offset, timestamp] = [
    said.get(passedOnHeaders.topic),
    ...[passedOnHeaders.partition, passedOnHeaders.offset, passedOnHeaders.timestamp].map((name) => wholeNumber(said.get(name))),
  ]
  if (topic === undefined || partition === undefined || offset === undefined || timestamp === undefined)
    return { record: { ...record, headers }, known: true, count, attempts }
  const own = headers.filter(([name]) => name !== coordinateHeader)
  const coordinate = said.get(passedOnHeaders.coordinate)
  if (coordinate !== undefined) own.push([coordinateHeader, coordinate])
  return { record: { ...record, topic, partition, offset, timestamp: withinYears(timestamp), headers: own }, known: true, count, attempts }
}

/** Where the record itself stands in its sender's output, whatever it says of its original. */
export function coordinateOf({ headers }: LogRecord): Coordinate | null {
  const text = textOf(headers.findLast(([name]) => name === coordinateHeader)?.[1])
  return text === undefined ? null : parseCoordinate(text)
}

export interface PassOn {
  readonly group: string
  readonly count: number
  readonly attempts: readonly FailedAttempt[]
  readonly errorClass: string
  readonly error: string
  /** Milliseconds since 1970; `null`: never. */
  readonly dueAt: number | null
}

/** The headers of the original, and those above. */
export function passOnHeaders({ topic, partition, offset, timestamp, headers }: LogRecord, passOn: PassOn): readonly Header[] {
  const { group, count, attempts, errorClass, error, dueAt } = passOn
  const coordinate = textOf(headers.findLast(([name]) => name === coordinateHeader)?.[1])
  return [
    ...headers.filter(([name]) => name !== coordinateHeader),
    [passedOnHeaders.topic, topic],
    [passedOnHeaders.partition, String(partition)],
    [passedOnHeaders.offset, String(offset)],
    [passedOnHeaders.timestamp, String(timestamp)],
    ...(coordinate === undefined ? [] : [[passedOnHeaders.coordinate, coordinate] as const]),
    [passedOnHeaders.group, group],
    [passedOnHeaders.count, String(count)],
    [passedOnHeaders.attempts, JSON.stringify(shortened(attempts))],
    ...(dueAt === null ? [] : [[passedOnHeaders.at, new Date(dueAt).toISOString()] as const]),
    [passedOnHeaders.errorClass, errorClass],
    [passedOnHeaders.error, error.slice(0, longestError)],
  ]
}

/** Headers count against the broker's largest record. */
const mostAttempts = 10
const longestError = 500

function shortened(attempts: readonly FailedAttempt[]): readonly FailedAttempt[] {
  const kept = attempts.length <= mostAttempts ? attempts : [attempts[0]!, ...attempts.slice(1 - mostAttempts)]
  return kept.map(({ at, error }) => ({ at, error: error.slice(0, longestError) }))
}

function attemptsOf(text: string | undefined): readonly FailedAttempt[] {
  try {
    const parsed: unknown = JSON.parse(text ?? '[]')
    if (!Array.isArray(parsed)) return []
    return parsed.slice(0, mostAttempts).flatMap((one: unknown) => {
      const { at, error } = (one ?? {}) as Partial<FailedAttempt>
      return Number.isSafeInteger(at) && typeof error === 'string' ? [{ at: at!, error: error.slice(0, longestError) }] : []
    })
  } catch {
    return []
  }
}

function wholeNumber(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,15}$/.test(text)) return undefined
  return Number(text)
}
