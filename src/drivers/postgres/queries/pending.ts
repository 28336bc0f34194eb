import type { Statement } from '../statement-run.ts'

/** Counting stops here: people want to know whether, and roughly how many. */
const most = 1_000

/**
 * How many committed messages wait to be published, held ones left out; each part counted up to 1,000. A tick under way counts as what is left of it, and as
 * one at the least. `schema` is quoted. Uses the same halves and the same indexes as the relay's probe and page.
 */
export function pending(schema: string): Statement {
  const ofStream = `(r.streams = 1 or ${schema}.outbox_shard(o.aggregatetype, o.aggregateid, r.streams) = r.stream)`
  return {
    text: `select case when not exists (select from ${schema}.relay) then (select count(*) from (select from ${schema}.outbox limit ${most}) o)
      else (select coalesce(sum(
        (select count(*) from (select from ${schema}.outbox o where o.xid >= pg_snapshot_xmax(r.cur) and ${ofStream} limit ${most}) newer)
        + (select count(*) from pg_snapshot_xip(r.cur) x cross join lateral
            (select from ${schema}.outbox o where o.xid = x and ${ofStream} limit ${most}) older)
        + case when r.finished then 0 else greatest(1, (select count(*) from (
            select 1 from pg_snapshot_xip(r.prev) x cross join lateral
              (select from ${schema}.outbox o where o.xid = x and o.seq > r.done_seq and ${ofStream} limit ${most}) l
              where pg_visible_in_snapshot(x, r.cur)
            union all
            (select 1 from ${schema}.outbox o where o.seq > greatest(r.done_seq, r.floor_new - 1) and o.xid >= pg_snapshot_xmax(r.prev)
              and pg_visible_in_snapshot(o.xid, r.cur) and ${ofStream} limit ${most})) under_way)) end
        + (select count(*) from ${schema}.relay_parked p where p.stream = r.stream and p.releasing and p.release_tick is null)
      ), 0) from ${schema}.relay r) end::int as pending`,
  }
}

/** The same in simple mode, where published rows are deleted. */
export function pendingSimple(schema: string): Statement {
  return {
    text: `select count(*)::int as pending from (select from ${schema}.outbox o where not exists (select from ${schema}.relay_parked p
      where p.aggregatetype = o.aggregatetype and p.aggregateid = o.aggregateid and o.seq >= p.from_seq) limit ${most}) o`,
  }
}

/** Keys of refused messages, and what waits with them. */
export function heldBack(schema: string): Statement {
  return {
    text: `select (select count(*) from ${schema}.relay_parked)::int as keys, (select count(*) from ${schema}.relay_held)::int as messages`,
  }
}
