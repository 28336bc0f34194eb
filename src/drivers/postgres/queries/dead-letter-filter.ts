import { passedOnHeaders } from '../../../consumer/batch/original-record.ts'
import type { LetterFilter } from '../../../dead-letter/port.ts'

/** A condition on `dead_letter d`, with its parameters from `$1` on. */
export interface LetterCondition {
  readonly text: string
  readonly params: readonly unknown[]
}

/** The conditions of a filter, joined by *and*. Written out so that the partial indexes of dead and not archived letters fit. */
export function letterCondition(filter: LetterFilter): LetterCondition {
  const { states = ['dead'], archived = false } = filter
  const params: unknown[] = []
  const conditions: string[] = []
  const add = (value: unknown, condition: (parameter: string) => string): void => {
    params.push(value)
    conditions.push(condition(`$${params.length}`))
  }
  const anyOf = (values: readonly unknown[] | undefined, type: string, column: string): void => {
    if (values !== undefined) add(values, (p) => `d.${column} = any(${p}::${type}[])`)
  }
  // A literal, since a partial index is not used for a parameter.
  conditions.push(states.length === 1 ? `d.state = '${knownState(states[0]!)}'` : 'true')
  if (states.length !== 1) anyOf(states, 'text', 'state')
  if (archived !== 'any') conditions.push(`d.archived_at is ${archived ? 'not ' : ''}null`)
  anyOf(filter.ids, 'bigint', 'id')
  anyOf(filter.messageIds, 'text', 'message_id')
  anyOf(filter.groups, 'text', 'group_name')
  anyOf(filter.types, 'text', 'type')
  anyOf(filter.errorClasses, 'text', 'error_class')
  anyOf(filter.fingerprints, 'text', 'fingerprint')
  if (filter.topics !== undefined) {
    // One that died in a retry topic belongs to the topic it was first in, as its headers say.
    params.push(
      filter.topics,
      filter.topics.map((topic) => JSON.stringify([passedOnHeaders.topic, topic])),
    )
    const [topics, headers] = [`$${params.length - 1}::text[]`, `$${params.length}::text[]`]
    conditions.push(
      `(d.topic = any(${topics}) or exists (select from unnest(${headers}) header where position(header in d.headers::text) > 0))`,
    )
  }
  anyOf(filter.handlers, 'text', 'handler')
  anyOf(
    filter.keys?.map((key) => Buffer.from(key)),
    'bytea',
    'key',
  )
  if (filter.assignee === null) conditions.push('d.assignee is null')
  else if (filter.assignee !== undefined) add(filter.assignee, (p) => `d.assignee = ${p}`)
  if (filter.diedFrom !== undefined) add(filter.diedFrom.toISOString(), (p) => `d.died_at >= ${p}::timestamptz`)
  if (filter.diedBefore !== undefined) add(filter.diedBefore.toISOString(), (p) => `d.died_at < ${p}::timestamptz`)
  for (const [name, value] of Object.entries(filter.headers ?? {})) {
    // As `headersToJson` writes it: within a text no quote stands alone, so this is found only where it is a header.
    add(JSON.stringify([name, value]), (p) => `position(${p} in d.headers::text) > 0`)
  }
  if (filter.text !== undefined) {
    const pattern = `%${filter.text.replace(/[\\%_]/g, '\\$&')}%`
    params.push(pattern, Buffer.from(filter.text))
    const [like, bytes] = [`$${params.length - 1}::text`, `$${params.length}::bytea`]
    const places = [`d.reason ilike ${like}`, `d.message_id ilike ${like}`, `d.type ilike ${like}`, `position(${bytes} in d.key) > 0`]
    if (filter.inPayload === true) places.push(`position(${bytes} in d.value) > 0`)
    conditions.push(`(${places.join(' or ')})`)
  }
  return { text: conditions.join(' and '), params }
}

function knownState(state: string): string {
  return state === 'redriven' || state === 'discarded' ? state : 'dead'
}
