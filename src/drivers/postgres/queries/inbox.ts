import type { Statement } from '../statement-run.ts'
import { coordinateMark, noCoordinate } from './record-columns.ts'

/** Statements on the inbox. `schema` is the quoted name everywhere. */

/** How many tables the ring has; migration 2 made them. */
export const inboxSlots = 4

/** After a change of the written table the former one is written too for so long; no transaction of ours lives half as long. */
const overlap = `interval '10 minutes'`

export function findHandled(schema: string, group: string, identities: readonly string[]): Statement {
  return {
    text: `select identity from ${schema}.inbox where group_name = $1 and identity = any($2::text[])`,
    params: [group, identities],
  }
}

/**
 * Remembers identities. Fails when one is there already, after waiting for whoever is about to commit it; the sorted order keeps two of these
 * from waiting for each other.
 */
export function rememberHandled(schema: string, group: string, identities: readonly string[]): Statement {
  return {
    text: `with slots as (
  select s.slot from ${schema}.inbox_rotation r, lateral (values (r.current), (case when r.since > now() - ${overlap} then r.previous end)) as s(slot)
  where s.slot is not null),
added as (
  insert into ${schema}.inbox (group_name, identity, slot)
  select $1, i.identity, slots.slot from unnest($2::text[]) with ordinality as i(identity, place), slots order by i.place, slots.slot
  on conflict do nothing returning 1)
select ${schema}.consumer_require((select count(*) from added) = $3 * (select count(*) from slots), 'duplicate')`,
    params: [group, identities, identities.length],
  }
}

/** The next table of the ring, if it is time to turn; the row is locked then. */
export function lockRotation(schema: string, turnMs: number): Statement {
  return {
    text: `select (current + 1) % ${inboxSlots} as next from ${schema}.inbox_rotation where since < now() - $1::bigint * interval '1 millisecond' for update skip locked`,
    params: [turnMs],
  }
}

export function emptySlot(schema: string, slot: number): Statement {
  return { text: `truncate ${schema}.inbox_${slot}` }
}

export function turn(schema: string, slot: number): Statement {
  // What an earlier release turned is not noted in `began`: then the others are not known any more.
  return {
    text: `update ${schema}.inbox_rotation r set previous = current, current = $1::int, since = now(), began = (
  select array_agg(case when s = $1::int then now() when s = r.current then r.since when r.began[r.current + 1] = r.since then r.began[s + 1] end order by s)
  from generate_series(0, ${inboxSlots - 1}) s)`,
    params: [slot],
  }
}

/** The ring, with times in milliseconds since 1970. */
export function readRing(schema: string): Statement {
  return {
    text: `select current, previous is not null as has_turned, ${millis('since')} as since,
  array(select ${millis('b')} from unnest(began) with ordinality as u(b, n) order by n) as began from ${schema}.inbox_rotation`,
  }
}

/** All groups that ever read a topic. */
export function allReadingGroups(schema: string): Statement {
  return { text: `select distinct group_name as name from ${schema}.consumer_position order by 1` }
}

export function groupsWithIds(schema: string, groups: readonly string[]): Statement {
  return {
    text: `select g.name from unnest($1::text[]) as g(name) where exists (select from ${schema}.inbox i where i.group_name = g.name) order by 1`,
    params: [groups],
  }
}

/** Of the dead letters that the log took before this time, and that have no coordinate. Usually there are few as old as that. */
export function oldestLetterBefore(schema: string, groups: readonly string[], time: number): Statement {
  return {
    text: `select ${millis('min(log_time)')} as logged_at from ${schema}.dead_letter d
where state = 'dead' and group_name = any($1::text[]) and log_time < to_timestamp($2::float8 / 1000)
  and ${noCoordinate('$3')}`,
    params: [groups, time, coordinateMark],
  }
}

function millis(time: string): string {
  return `(extract(epoch from ${time}) * 1000)::float8`
}
