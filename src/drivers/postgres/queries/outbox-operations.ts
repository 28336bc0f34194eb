import type { Statement } from '../statement-run.ts'

/**
 * The statements of the operator's commands. `schema` is quoted.
 *
 * @module
 */

/** Beyond so many unpublished rows the exact number tells nobody more. */
export const countLimit = 100_000

export function streams(schema: string): Statement {
  return {
    text: `select r.stream, r.streams, s.id || '.' || s.life as source_epoch, r.generation, r.epoch, r.tick, r.finished, r.owner, r.done_at,
        greatest(0, extract(epoch from clock_timestamp() - r.seen_at) * 1000)::bigint as silent_ms,
        r.system_identifier, (select system_identifier::text from pg_control_system()) as here_system,
        r.database_oid::text as database_oid, (select oid::text from pg_database where datname = current_database()) as here_database,
        u.count as unpublished, (extract(epoch from clock_timestamp() - u.oldest) * 1000)::bigint as oldest_ms,
        (select count(*) from ${schema}.relay_parked p where p.stream = r.stream) as parked,
        (select count(*) from ${schema}.relay_held h where h.stream = r.stream) as held
      from ${schema}.relay r cross join ${schema}.source s cross join lateral (
        select count(*), min(created_at) as oldest from (
          (select o.created_at from ${schema}.outbox o where o.xid >= pg_snapshot_xmax(case when r.finished then r.cur else r.prev end)
            and (r.finished or o.seq > r.done_seq or not pg_visible_in_snapshot(o.xid, r.cur))
            and (r.streams = 1 or ${schema}.outbox_shard(o.aggregatetype, o.aggregateid, r.streams) = r.stream) order by o.xid limit ${countLimit})
          union all
          (select o.created_at from pg_snapshot_xip(case when r.finished then r.cur else r.prev end) x join ${schema}.outbox o on o.xid = x
            where (r.finished or o.seq > r.done_seq or not pg_visible_in_snapshot(o.xid, r.cur))
            and (r.streams = 1 or ${schema}.outbox_shard(o.aggregatetype, o.aggregateid, r.streams) = r.stream) limit ${countLimit})
        ) z
      ) u order by r.stream`,
  }
}

export function parts(schema: string): Statement {
  return { text: `select name, lo, hi, state from ${schema}.outbox_part where state <> 'dropped' order by lo` }
}

/** The last number drawn, 0 before the first. */
export function lastNumber(schema: string): Statement {
  return {
    text: `select coalesce((select last_value from pg_sequences where schemaname || '.' || sequencename
      = replace(pg_get_serial_sequence($1, 'seq'), '"', '')), 0)::text as drawn`,
    params: [`${schema}.outbox`],
  }
}

export function discardedCount(schema: string): Statement {
  return { text: `select count(*) from ${schema}.relay_discarded` }
}

export function parkedKeys(schema: string): Statement {
  return {
    text: `select p.aggregatetype, p.aggregateid, p.stream, p.from_seq, p.reason, p.parked_at, p.releasing,
        (select h.id from ${schema}.relay_held h where h.stream = p.stream and h.seq = p.from_seq) as id,
        (select count(*) from ${schema}.relay_held h where h.aggregatetype = p.aggregatetype and h.aggregateid = p.aggregateid) as held
      from ${schema}.relay_parked p order by p.parked_at, p.from_seq`,
  }
}

export function release(schema: string, types: readonly string[], ids: readonly string[]): Statement {
  return {
    text: `update ${schema}.relay_parked set releasing = true
      where not releasing and (aggregatetype, aggregateid) in (select * from unnest($1::text[], $2::text[])) returning aggregatetype, aggregateid`,
    params: [types, ids],
  }
}

/**
 * One statement: the key's row is locked by its update, so that of two operators one finds nothing to do. The refused message is the held one
 * at `from_seq`; where its checkpoint has not come yet there is none, and nothing is discarded.
 */
export function discard(schema: string, type: string, id: string, all: boolean, actor: string, reason: string): Statement {
  return {
    text: `with p as (
        update ${schema}.relay_parked set releasing = true where aggregatetype = $1 and aggregateid = $2 and not releasing
          and exists (select from ${schema}.relay_held h where h.stream = relay_parked.stream and h.seq = relay_parked.from_seq)
        returning *
      ), gone as (
        delete from ${schema}.relay_held h using p
        where h.aggregatetype = p.aggregatetype and h.aggregateid = p.aggregateid and (h.seq = p.from_seq or $3) returning h.*
      )
      insert into ${schema}.relay_discarded (seq, id, aggregatetype, aggregateid, type, reason, actor)
      select g.seq, g.id, g.aggregatetype, g.aggregateid, (select o.type from ${schema}.outbox o where o.seq = g.seq), $5, $4 from gone g`,
    params: [type, id, all, actor, reason],
  }
}

/** The state a rebase starts from: each stream's, and the time it was last written at. */
export function rebaseStreams(schema: string): Statement {
  return {
    text: `select r.stream, r.generation, r.tick, r.finished, r.seen_at, s.id || '.' || s.life as source_epoch,
        pg_snapshot_xmax(r.cur) > pg_snapshot_xmax(pg_current_snapshot()) as foreign
      from ${schema}.source s left join ${schema}.relay r on true order by r.stream`,
  }
}

export function foreignRows(schema: string): Statement {
  return {
    text: `select exists (select from (select 1 from ${schema}.outbox o where o.xid >= pg_snapshot_xmax(pg_current_snapshot()) order by o.xid limit 1) a) as foreign`,
  }
}

/** Topics written to, and what rows that wait need to tell theirs. */
export function knownTopics(schema: string): Statement {
  return { text: `select distinct topic from ${schema}.relay_topic` }
}

export function waitingTopics(schema: string): Statement {
  return {
    text: `select distinct o.aggregatetype, o.headers->>'tidemark-topic' as topic from ${schema}.relay r join ${schema}.outbox o
      on not pg_visible_in_snapshot(o.xid, case when r.finished then r.cur else r.prev end)`,
  }
}

/** Published rows get an xid below everything, the others this transaction's; the streams begin again before all of them. */
export function rewriteXids(schema: string): readonly Statement[] {
  return [
    { text: `lock table ${schema}.outbox in access exclusive mode` },
    {
      text: `update ${schema}.outbox o set xid = case when exists (
          select from ${schema}.relay r where r.stream = ${schema}.outbox_shard(o.aggregatetype, o.aggregateid, r.streams)
            and (pg_visible_in_snapshot(o.xid, r.prev) or pg_visible_in_snapshot(o.xid, r.cur) and (r.finished or o.seq <= r.done_seq))
        ) then '3'::xid8 else pg_current_xact_id() end`,
    },
    { text: `update ${schema}.relay set prev = '4:4:', cur = '4:4:', finished = true` },
    { text: `update ${schema}.outbox_part set mark = pg_current_xact_id() where state = 'sealed'` },
    { text: `delete from ${schema}.relay_tick` },
  ]
}

/**
 * A new life. An unfinished tick is taken back: its rows are in the next one, except for those on the wire. So what it has held so far is held
 * anew by the next one, and what it was about to release is released by it.
 */
export function newLife(schema: string): readonly Statement[] {
  return [
    { text: `lock table ${schema}.relay in share row exclusive mode` },
    {
      text: `delete from ${schema}.relay_held h using ${schema}.relay r, ${schema}.outbox o
        where r.stream = h.stream and not r.finished and o.seq = h.seq and not pg_visible_in_snapshot(o.xid, r.prev)`,
    },
    {
      text: `update ${schema}.relay_held h set release_tick = null from ${schema}.relay r where r.stream = h.stream and h.release_tick is not null`,
    },
    { text: `update ${schema}.relay_parked set release_tick = null where release_tick is not null` },
    { text: `delete from ${schema}.relay_held h using ${schema}.relay_skip s where s.stream = h.stream and s.id = h.id` },
    { text: `update ${schema}.source set life = life + 1` },
    {
      text: `update ${schema}.relay r set epoch = epoch + 1, owner = null, cur = case when finished then cur else prev end, finished = true, releasing = false,
        skipping = exists (select from ${schema}.relay_skip s where s.stream = r.stream),
        system_identifier = (select system_identifier::text from pg_control_system()),
        database_oid = (select oid from pg_database where datname = current_database())`,
    },
  ]
}

export function skipIds(schema: string, stream: number, ids: readonly string[]): Statement {
  return { text: `insert into ${schema}.relay_skip select $1::int, unnest($2::uuid[]) on conflict do nothing`, params: [stream, ids] }
}
