import { type LetterFilter, mostKinds } from '../../../dead-letter/port.ts'
import type { Statement } from '../statement-run.ts'
import { letterCondition } from './dead-letter-filter.ts'
import { coordinateMark, noCoordinate } from './record-columns.ts'

/** Statements that look at `dead_letter`. `schema` is the quoted name everywhere. No list reads a payload. */

/** What a `Letter` is made of; see `dead-letter-rows.ts`. */
export const letterColumns = `d.id, d.version, d.state, d.group_name, d.topic, d.topic_id, d.partition, d.log_offset, d.key, d.message_id, d.type, d.handler,
  d.policy, d.error_class, d.reason, d.fingerprint, d.frame, d.code_version, d.first_failed_at, d.last_failed_at, d.died_at, d.retry_count, d.redrives,
  d.edits, d.assignee, d.archived_at, d.ended_at, d.ended_by, d.end_reason`

/** Where a page ended. The time as text, which is exact where a number is not. */
export interface PlaceInList {
  readonly diedAt: string
  readonly id: number
}

export function listLetters(schema: string, filter: LetterFilter, limit: number, after: PlaceInList | null): Statement {
  const { text, params } = letterCondition(filter)
  const n = params.length
  const behind = after === null ? '' : ` and (d.died_at, d.id) < ($${n + 2}::timestamptz, $${n + 3}::bigint)`
  return {
    text: `select ${letterColumns}, d.died_at::text as died_text from ${schema}.dead_letter d where ${text}${behind}
order by d.died_at desc, d.id desc limit $${n + 1}`,
    params: [...params, limit, ...(after === null ? [] : [after.diedAt, after.id])],
  }
}

export function readLetter(schema: string, id: number): Statement {
  return {
    text: `select ${letterColumns}, d.log_time, d.value, d.headers::text, d.stack, d.attempts::text from ${schema}.dead_letter d where d.id = $1`,
    params: [id],
  }
}

export function readEdits(schema: string, id: number): Statement {
  return {
    text: `select number, value, headers::text, actor, at, reason from ${schema}.dead_letter_edit where letter_id = $1 order by number`,
    params: [id],
  }
}

export function readEvents(schema: string, id: number): Statement {
  return { text: `select at, actor, action, text from ${schema}.dead_letter_event where letter_id = $1 order by number`, params: [id] }
}

export function countLetters(schema: string, filter: LetterFilter): Statement {
  const { text, params } = letterCondition(filter)
  return {
    text: `select sum(n)::bigint as count, min(oldest) as oldest, max(newest) as newest, sum(case when key is null then n else 1 end)::bigint as keys
from (select d.key, count(*) as n, min(d.died_at) as oldest, max(d.died_at) as newest
  from ${schema}.dead_letter d where ${text} group by d.group_name, d.topic_id, d.partition, d.key) k`,
    params,
  }
}

/** The newest letter of each group is looked up for those that are shown alone. */
export function groupLetters(schema: string, filter: LetterFilter, limit: number): Statement {
  const { text, params } = letterCondition(filter)
  return {
    text: `with groups as materialized (
  select d.fingerprint, d.group_name, d.type, d.error_class, count(*) as count, min(d.died_at) as first, max(d.died_at) as last,
    count(*) filter (where d.redrives > 0) as came_back
  from ${schema}.dead_letter d where ${text} group by 1, 2, 3, 4 order by count(*) desc, max(d.died_at) desc, 1 limit $${params.length + 1})
select g.*, e.id, e.message_id, e.reason, e.frame from groups g cross join lateral (
  select d.id, d.message_id, d.reason, d.frame from ${schema}.dead_letter d where ${text} and d.fingerprint = g.fingerprint and d.died_at = g.last
    and d.group_name = g.group_name and d.type is not distinct from g.type and d.error_class = g.error_class order by d.id desc limit 1) e
order by g.count desc, g.last desc, g.fingerprint`,
    params: [...params, limit],
  }
}

export function countByType(schema: string, filter: LetterFilter): Statement {
  const { text, params } = letterCondition(filter)
  return {
    text: `select coalesce(d.type, '') as name, count(*) from ${schema}.dead_letter d where ${text} group by 1 order by 2 desc, 1`,
    params,
  }
}

export function countByReason(schema: string, filter: LetterFilter): Statement {
  const { text, params } = letterCondition(filter)
  return { text: `select d.reason as name, count(*) from ${schema}.dead_letter d where ${text} group by 1 order by 2 desc, 1`, params }
}

export function oldestFailure(schema: string, filter: LetterFilter): Statement {
  const { text, params } = letterCondition(filter)
  return { text: `select min(d.first_failed_at) as oldest from ${schema}.dead_letter d where ${text}`, params }
}

/** By their ids, however many letters there are. */
export function lettersLoggedBefore(schema: string, ids: readonly number[], time: number): Statement {
  return {
    text: `select d.id, d.topic, d.partition, d.log_offset, d.log_time, d.key, d.headers::text as headers from ${schema}.dead_letter d
where d.id = any($1::bigint[]) and d.state = 'dead' and d.log_time < to_timestamp($2::float8 / 1000) and ${noCoordinate('$3')}`,
    params: [ids, time, coordinateMark],
  }
}

export function lettersByGroup(schema: string, since: Date): Statement {
  return {
    text: `with kinds as materialized (
  select d.group_name, d.fingerprint, count(*) as count, count(*) filter (where d.died_at >= $1) as recent, min(d.died_at) as oldest,
    max(d.died_at) as newest
  from ${schema}.dead_letter d where d.state = 'dead' and d.archived_at is null group by 1, 2),
groups as materialized (
  select group_name, sum(count)::bigint as count, sum(recent)::bigint as recent, min(oldest) as oldest, max(newest) as newest,
    case when count(*) <= $2 then array_agg(fingerprint order by fingerprint) else '{}' end as kinds
  from kinds group by 1)
select g.*, e.id, e.message_id, e.error_class, e.type, e.fingerprint from groups g cross join lateral (
  select d.id, d.message_id, d.error_class, d.type, d.fingerprint from ${schema}.dead_letter d
  where d.state = 'dead' and d.archived_at is null and d.group_name = g.group_name and d.died_at = g.newest order by d.id desc limit 1) e
order by g.group_name`,
    params: [since.toISOString(), mostKinds],
  }
}

/**
 * Key by key, each in the order of its offsets; the keys by their hash, so that whoever takes some of them in this order finds them in different partitions,
 * whose locks do not wait for each other, and the first ones are a sample of all. Within a transaction; read by `fetchSelection`.
 */
export function openSelection(schema: string, filter: LetterFilter): Statement {
  const { text, params } = letterCondition(filter)
  return {
    text: `declare selection no scroll cursor for
select d.id, d.version, d.group_name, d.topic_id, d.partition, d.key from ${schema}.dead_letter d where ${text}
order by coalesce(sha256(d.key), sha256(int8send(d.log_offset))), d.group_name, d.topic_id, d.partition, d.key, d.log_offset`,
    params,
  }
}

export function fetchSelection(rows: number): Statement {
  return { text: `fetch ${Math.max(1, Math.floor(rows))} from selection` }
}
