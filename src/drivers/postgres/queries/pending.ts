import type { Statement } from '../statement-run.ts'

/** Counting stops here: people want to know whether, and roughly how many. */
const most = 1_000

/**
 * How many committed messages wait to be published, held ones left out; counted up to 1,000. A tick under way counts as one.
 * `schema` is quoted. Uses the same two halves and the same index as the relay's probe.
 */
export function pending(schema: string): Statement {
  const ofStream = `(r.streams = 1 or ${schema}.outbox_shard(o.aggregatetype, o.aggregateid, r.streams) = r.stream)`
  return {
    text: `select case when not exists (select from ${schema}.relay) then (select count(*) from (select from ${schema}.outbox limit ${most}) o)
      else (select coalesce(sum(
        (select count(*) from (select from ${schema}.outbox o where o.xid >= pg_snapshot_xmax(r.cur) and ${ofStream} limit ${most}) newer)
        + (select count(*) from pg_snapshot_xip(r.cur) x cross join lateral
            (select from ${schema}.outbox o where o.xid = x and ${ofStream} limit ${most}) older)
        + case when r.finished then 0 else 1 end
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
