import type { LetterFilter, LetterState } from '../../dead-letter/index.ts'
import { timeOf } from '../time-flag.ts'
import { letterStates } from '../../dead-letter/letter.ts'
import { type FlagSpec, type Flags, UsageError } from '../command.ts'

/** Which letters: the same flags for every command that takes a filter. */
export const filterFlags: Readonly<Record<string, FlagSpec>> = {
  group: { type: 'string', value: 'NAMES', help: 'Consumer groups, with commas between' },
  type: { type: 'string', value: 'NAMES', help: 'Event types' },
  class: { type: 'string', value: 'NAMES', help: 'Error classes' },
  fingerprint: { type: 'string', value: 'HASHES', help: 'As tidemark dlq groups prints them' },
  topic: { type: 'string', value: 'NAMES', help: 'Topics' },
  key: { type: 'string', value: 'KEY', help: 'Key of the message; with commas in it it is still one' },
  'message-id': { type: 'string', value: 'IDS', help: 'Ids of messages' },
  handler: { type: 'string', value: 'NAMES', help: 'Handlers' },
  assignee: { type: 'string', value: 'NAME', help: 'Assigned to; - for nobody' },
  text: { type: 'string', value: 'TEXT', help: 'Occurs in reason, message id, key or type' },
  'in-payload': { type: 'boolean', help: 'Look for the text in payloads as well' },
  header: { type: 'string', value: 'NAME=VALUE', help: 'A header with this value' },
  since: { type: 'string', value: 'TIME', help: 'Died since: 2026-01-31, 2026-01-31T12:00Z, or 90m, 12h, 7d ago' },
  before: { type: 'string', value: 'TIME', help: 'Died before' },
  state: { type: 'string', value: 'STATES', help: 'dead, redriven, discarded, all (default: dead)' },
  archived: { type: 'boolean', help: 'Archived ones in the place of the others' },
}

/** `now`: what times are counted back from. */
export function filterOf(flags: Flags, now: number): LetterFilter {
  const { assignee, text } = flags
  return {
    ...diedIn(flags, now),
    ...listed('groups', flags.group),
    ...listed('types', flags.type),
    ...listed('errorClasses', flags.class),
    ...listed('fingerprints', flags.fingerprint),
    ...listed('topics', flags.topic),
    ...listed('messageIds', flags['message-id']),
    ...listed('handlers', flags.handler),
    ...(typeof flags.key === 'string' ? { keys: [flags.key] } : {}),
    ...(typeof assignee === 'string' ? { assignee: assignee === '-' ? null : assignee } : {}),
    ...(typeof text === 'string' ? { text } : {}),
    ...(flags['in-payload'] === true ? { inPayload: true } : {}),
    ...(typeof flags.header === 'string' ? { headers: headerOf(flags.header) } : {}),
    ...(typeof flags.state === 'string' ? { states: statesOf(flags.state) } : {}),
    ...(flags.archived === true ? { archived: true } : {}),
  }
}

function diedIn({ since, before }: Flags, now: number): LetterFilter {
  const diedFrom = typeof since === 'string' ? timeOf('since', since, now) : undefined
  const diedBefore = typeof before === 'string' ? timeOf('before', before, now) : undefined
  if (diedFrom !== undefined && diedBefore !== undefined && diedFrom >= diedBefore)
    throw new UsageError(
      `Nothing has died since ${diedFrom.toISOString()} and before ${diedBefore.toISOString()}: --since takes the earlier time, such as --since 5h --before 2h.`,
    )
  return { ...(diedFrom === undefined ? {} : { diedFrom }), ...(diedBefore === undefined ? {} : { diedBefore }) }
}

type ListName = 'groups' | 'types' | 'errorClasses' | 'fingerprints' | 'topics' | 'messageIds' | 'handlers'

function listed(name: ListName, flag: string | boolean | undefined): LetterFilter {
  if (typeof flag !== 'string') return {}
  return { [name]: flag.split(',').map((one) => one.trim()) }
}

function statesOf(flag: string): readonly LetterState[] {
  if (flag === 'all') return letterStates
  return flag.split(',').map((one) => {
    const state = letterStates.find((known) => known === one.trim())
    if (state === undefined) throw new UsageError(`--state: expected dead, redriven, discarded or all, got ${JSON.stringify(one)}.`)
    return state
  })
}

function headerOf(flag: string): Readonly<Record<string, string>> {
  const equals = flag.indexOf('=')
  if (equals < 1) throw new UsageError(`--header: expected NAME=VALUE, got ${JSON.stringify(flag)}.`)
  return { [flag.slice(0, equals)]: flag.slice(equals + 1) }
}
