import { inspect } from 'node:util'
import { TidemarkError } from '../errors.ts'
import type { Params } from '../operation/operation.ts'
import { letterStates } from './letter.ts'
import type { LetterFilter } from './port.ts'

const lists = ['messageIds', 'groups', 'states', 'types', 'errorClasses', 'fingerprints', 'topics', 'keys', 'handlers'] as const
const states: readonly unknown[] = letterStates
const known = new Set<string>([...lists, 'ids', 'assignee', 'text', 'inPayload', 'headers', 'diedFrom', 'diedBefore', 'archived'])

/** A filter as JSON, for an operation to keep: times as ISO 8601. */
export function filterToParams(filter: LetterFilter): Params {
  return JSON.parse(JSON.stringify(filter)) as Params
}

/** And back, as `checkedFilter`. */
export function filterFromParams(params: unknown): LetterFilter {
  return checkedFilter(params)
}

/** The filter, times as `Date`. Throws `INPUT_INVALID` for what is none: a condition that nobody knows would match everything. */
export function checkedFilter(params: unknown): LetterFilter {
  if (typeof params !== 'object' || params === null || Array.isArray(params)) throw invalid('an object with conditions', params)
  const given = params as Readonly<Record<string, unknown>>
  for (const name of Object.keys(given)) if (!known.has(name)) throw unknownCondition(name)
  for (const name of lists)
    if (given[name] !== undefined && !isListOf(given[name], isText)) throw invalid(`${name}: a list of texts`, given[name])
  if (given['ids'] !== undefined && !isListOf(given['ids'], Number.isSafeInteger))
    throw invalid('ids: a list of whole numbers', given['ids'])
  for (const [name, expected, fits] of others)
    if (given[name] !== undefined && !fits(given[name])) throw invalid(`${name}: ${expected}`, given[name])
  return { ...(given as LetterFilter), ...timeOf(given, 'diedFrom'), ...timeOf(given, 'diedBefore') }
}

const others: readonly (readonly [name: string, expected: string, fits: (value: unknown) => boolean])[] = [
  ['states', 'of dead, redriven, discarded', (value) => Array.isArray(value) && value.every((one) => states.includes(one))],
  ['assignee', 'a text or null', (value) => value === null || isText(value)],
  ['text', 'a text', isText],
  ['inPayload', 'true or false', (value) => typeof value === 'boolean'],
  ['headers', 'texts by name', isRecordOfTexts],
  ['archived', 'true, false or any', (value) => value === 'any' || typeof value === 'boolean'],
]

function isRecordOfTexts(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    isListOf([...Object.keys(value), ...Object.values(value)], isText)
  )
}

function timeOf(given: Readonly<Record<string, unknown>>, name: 'diedFrom' | 'diedBefore'): Partial<LetterFilter> {
  const value = given[name]
  if (value === undefined) return {}
  const time = value instanceof Date ? value : new Date(typeof value === 'string' ? value : Number.NaN)
  if (Number.isNaN(time.getTime())) throw invalid(`${name}: a time`, value)
  return { [name]: time }
}

function isListOf(value: unknown, fits: (one: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(fits)
}

/** No database keeps the character zero, so nothing would be found by it. */
function isText(value: unknown): boolean {
  return typeof value === 'string' && !value.includes('\0')
}

function invalid(expected: string, came: unknown): TidemarkError {
  return new TidemarkError(
    'INPUT_INVALID',
    `A filter of dead letters takes ${expected}; got ${inspect(came, { depth: 1, maxStringLength: 100, breakLength: Infinity })}.`,
  )
}

function unknownCondition(name: string): TidemarkError {
  return new TidemarkError('INPUT_INVALID', `A filter of dead letters has no condition "${name}".`, {
    remedy: `It has ${[...known].join(', ')}.`,
  })
}

/** How many, at most. Throws `INPUT_INVALID` for what is no whole number from 1 on. */
export function checkedLimit(limit: unknown): number {
  if (Number.isSafeInteger(limit) && (limit as number) >= 1) return limit as number
  throw new TidemarkError('INPUT_INVALID', `A limit is a whole number from 1 on; got ${inspect(limit, { maxStringLength: 100 })}.`)
}
