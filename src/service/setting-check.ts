import { inspect } from 'node:util'
import { TidemarkError } from '../errors.ts'

/**
 * What the settings of a service may be. Said as data, so that every option has a check and every refusal says what was expected and what came.
 *
 * @module
 */

/** One setting: what is expected, in words, and whether a value is that. */
export interface SettingCheck {
  readonly expected: string
  readonly holds: (value: unknown) => boolean
}

/** Settings under one name. */
export interface SettingGroup {
  readonly members: Readonly<Record<string, SettingCheck | SettingGroup>>
  /** What is wrong with members that are fine by themselves; `null`: nothing. */
  readonly conflict: (given: Readonly<Record<string, unknown>>) => string | null
}

/** A check for each option of `Options`, none left out and none more; and one of how they go together. */
export function group<Options extends object>(
  members: { readonly [Name in keyof Required<Options>]: SettingCheck | SettingGroup },
  conflict: SettingGroup['conflict'] = () => null,
): SettingGroup {
  return { members, conflict }
}

/** For options of which the first must not be more than the second. `most`: what the second is where it is not given; `undefined`: known elsewhere. */
export function atMost(lower: string, upper: string, most?: number): SettingGroup['conflict'] {
  return (given) => {
    const [low, high] = [given[lower], given[upper] ?? most]
    if (typeof low !== 'number' || typeof high !== 'number' || low <= high) return null
    return `${lower} is at most ${upper}; got ${low} and ${high}`
  }
}

/** Longer timers than this end at once. */
const longestTimerMs = 2 ** 31 - 1

export const truth: SettingCheck = { expected: 'true or false', holds: (value) => typeof value === 'boolean' }
export const text: SettingCheck = { expected: 'a text that is not empty', holds: (value) => typeof value === 'string' && value !== '' }

export function whole(from: number, to = Number.MAX_SAFE_INTEGER): SettingCheck {
  const upTo = to === Number.MAX_SAFE_INTEGER ? 'on' : `to ${to.toLocaleString('en-US')}`
  const holds = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= from && (value as number) <= to
  return { expected: `a whole number from ${from} ${upTo}`, holds }
}

export function duration(fromMs: number): SettingCheck {
  const { expected, holds } = whole(fromMs, longestTimerMs)
  return { expected: `${expected} (milliseconds)`, holds }
}

export function oneOf(...values: readonly string[]): SettingCheck {
  return { expected: values.map((value) => inspect(value)).join(' or '), holds: (value) => values.some((one) => one === value) }
}

export const callback: SettingCheck = { expected: 'a function', holds: (value) => typeof value === 'function' }

export function eitherOf(one: SettingCheck, other: SettingCheck): SettingCheck {
  return { expected: `${one.expected}, or ${other.expected}`, holds: (value) => one.holds(value) || other.holds(value) }
}

/** An object that has this method. What came is not shown: it may hold a password. */
export function madeBy(method: string, expected: string): SettingCheck {
  return { expected, holds: (value) => isObject(value) && typeof value[method] === 'function' }
}

/** Fails with `CONFIG_INVALID`. `of` names whose settings these are, `path` where in them. Settings that are `undefined` are not given. */
export function check(of: string, path: string, given: unknown, wanted: SettingGroup): void {
  if (!isObject(given)) throw invalid(`${of}: ${path === '' ? 'the options are' : `${path} is`} an object; got ${shown(given)}`)
  for (const [name, value] of Object.entries(given)) {
    const member = Object.hasOwn(wanted.members, name) ? wanted.members[name] : undefined
    const full = path === '' ? name : `${path}.${name}`
    if (member === undefined) throw invalid(`${of} has no option "${full}"; ${path === '' ? 'it' : path} has ${namesOf(wanted)}`)
    if (value === undefined) continue
    if ('members' in member) check(of, full, value, member)
    else if (!member.holds(value)) throw invalid(`${of}: ${full} is ${member.expected}; got ${shown(value)}`)
  }
  const conflict = wanted.conflict(given)
  if (conflict !== null) throw invalid(`${of}: ${path === '' ? '' : `${path}: `}${conflict}`)
}

/** The same without settings that are `undefined`, which would take the place of a default. */
export function given<Options extends object>(options: Options): Options {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries.map(([name, value]) => [name, isPlain(value) ? given(value) : value])) as Options
}

export function invalid(what: string): TidemarkError {
  return new TidemarkError('CONFIG_INVALID', `${what}.`)
}

function namesOf({ members }: SettingGroup): string {
  return Object.keys(members).join(', ')
}

/** What came, or only its kind where it may hold a secret. */
function shown(value: unknown): string {
  if (typeof value === 'string') return value.length > 40 || value.includes('://') ? 'a text' : inspect(value)
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return 'an array'
  if (value instanceof Date) return inspect(value)
  return isObject(value) ? 'an object' : inspect(value)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isPlain(value: unknown): value is object {
  return isObject(value) && Object.getPrototypeOf(value) === Object.prototype
}
