import { passedOnHeaders } from '../../consumer/batch/original-record.ts'
import type { LetterDetail } from '../../dead-letter/letter.ts'
import type { LetterFilter } from '../../dead-letter/port.ts'

/** Is this letter one of the filter's? */
export function matchesFilter(letter: LetterDetail, filter: LetterFilter): boolean {
  const { states = ['dead'], archived = false } = filter
  return (
    states.includes(letter.state) &&
    (archived === 'any' || archived === (letter.archivedAt !== null)) &&
    isAnyOf(filter.ids, letter.id) &&
    isAnyOf(filter.messageIds, letter.messageId) &&
    isAnyOf(filter.groups, letter.group) &&
    isAnyOf(filter.types, letter.type) &&
    isAnyOf(filter.errorClasses, letter.errorClass) &&
    isAnyOf(filter.fingerprints, letter.fingerprint) &&
    (isAnyOf(filter.topics, letter.topic) || filter.topics!.some((topic) => hasHeader(letter, passedOnHeaders.topic, topic))) &&
    isAnyOf(filter.handlers, letter.handler) &&
    (filter.keys === undefined || filter.keys.some((key) => letter.key?.equals(Buffer.from(key)) === true)) &&
    (filter.assignee === undefined || filter.assignee === letter.assignee) &&
    (filter.diedFrom === undefined || letter.diedAt >= filter.diedFrom) &&
    (filter.diedBefore === undefined || letter.diedAt < filter.diedBefore) &&
    Object.entries(filter.headers ?? {}).every(([name, value]) => hasHeader(letter, name, value)) &&
    (filter.text === undefined || hasText(letter, filter.text, filter.inPayload === true))
  )
}

function isAnyOf<T>(values: readonly T[] | undefined, value: T | null): boolean {
  return values === undefined || (value !== null && values.includes(value))
}

function hasHeader({ record }: LetterDetail, name: string, value: string): boolean {
  return record.headers.some(([one, given]) => one === name && given !== null && given.toString() === value)
}

function hasText({ reason, messageId, type, key, record }: LetterDetail, text: string, inPayload: boolean): boolean {
  const wanted = text.toLowerCase()
  const bytes = Buffer.from(text)
  return (
    [reason, messageId, type].some((place) => place?.toLowerCase().includes(wanted) === true) ||
    key?.includes(bytes) === true ||
    (inPayload && record.value?.includes(bytes) === true)
  )
}
