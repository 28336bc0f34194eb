import { TidemarkError } from '../../../errors.ts'
import type { Statement } from '../statement-run.ts'

/**
 * The statements of the polling relay. Why they have these forms, and what breaks in others, stands in `docs/design/outbox-relay.md`;
 * `test/outbox/plans.test.ts` asserts their plans.
 *
 * @module
 */

/** Which stream of which schema. `schema` is quoted. */
export interface StreamScope {
  readonly schema: string
  readonly stream: number
  readonly streams: number
}

/** Largest bigint: the floor of a half that has no row. */
const none = '9223372036854775807'

/** Keys of this stream only. Nothing to compare when there is one stream. */
export function shard({ schema, stream, streams }: StreamScope): string {
  // Of a comparison with a number the planner expects one row in 200, and then sorts a whole backlog for each page. Of this it expects every second one.
  return streams === 1
    ? ''
    : `and case when ${schema}.outbox_shard(o.aggregatetype, o.aggregateid, ${streams}) = ${stream} then true else false end`
}

/**
 * Becomes the owner, unless another one was heard of within the lease. Nothing else belongs into this statement: a snapshot taken in it may be
 * older than the tick it waited for.
 */
export function takeOver({ schema, stream }: StreamScope, owner: string, leaseMs: number): Statement {
  return {
    text: `update ${schema}.relay set epoch = epoch + 1, owner = $2, seen_at = clock_timestamp()
      where stream = $1 and (owner is null or owner = $2 or seen_at < clock_timestamp() - $3 * interval '1 millisecond')
      returning *, (select system_identifier::text from pg_control_system()) as here_system,
        (select oid from pg_database where datname = current_database()) as here_database`,
    params: [stream, owner, leaseMs],
  }
}

/** Is there a row that `prev` does not show? And how many transactions began since: a stream without rows must move on now and then. */
export function probe(scope: StreamScope, prev: string): Statement {
  const { schema } = scope
  return {
    text: `select exists (select from (select 1 from ${schema}.outbox o where o.xid >= pg_snapshot_xmax($1::pg_snapshot) ${shard(scope)}
          order by o.xid limit 1) a)
        or exists (select from pg_snapshot_xip($1::pg_snapshot) x cross join lateral
          (select 1 from ${schema}.outbox o where o.xid = x ${shard(scope)} order by o.seq limit 1) l)
        or exists (select from ${schema}.relay_parked where stream = $2 and releasing and release_tick is null) as rows,
      pg_snapshot_xmax(pg_current_snapshot())::text::bigint - pg_snapshot_xmax($1::pg_snapshot)::text::bigint as passed`,
    params: [prev, scope.stream],
  }
}

/** A tick must outlive a crash of the server before its rows are sent, whatever the session is set to. */
export const flushOnCommit: Statement = {
  text: `select set_config('synchronous_commit', case when current_setting('synchronous_commit') in ('off', 'local') then 'on'
    else current_setting('synchronous_commit') end, true)`,
}

/** What only repeats work when it is lost need not wait for the disk. */
export const noFlushOnCommit: Statement = { text: `set local synchronous_commit = off` }

/**
 * The next tick. The floors are the exact minima of its own rows over both halves, from one statement and so from one snapshot; `offset 0`
 * keeps the planner from walking the primary key. Released keys bring their held rows. `even` writes it without a row, too.
 */
export function tick(scope: StreamScope, epoch: string, even: boolean): Statement {
  const { schema, stream } = scope
  return {
    text: `with f as (
        select r0.cur as p,
          (select min(seq) from (select o.seq from ${schema}.outbox o where o.xid >= pg_snapshot_xmax(r0.cur) ${shard(scope)}
            order by o.xid, o.seq offset 0) a) as lo_new,
          (select min(l.seq) from pg_snapshot_xip(r0.cur) x cross join lateral
            (select o.seq from ${schema}.outbox o where o.xid = x ${shard(scope)} order by o.seq limit 1) l) as lo_old,
          (select min(h.seq) from ${schema}.relay_parked p join ${schema}.relay_held h using (aggregatetype, aggregateid)
            where p.stream = r0.stream and p.releasing and p.release_tick is null) as lo_held,
          exists (select from ${schema}.relay_parked p where p.stream = r0.stream and p.releasing and p.release_tick is null) as releasing
        from ${schema}.relay r0 where r0.stream = $1
      ), t as (
        update ${schema}.relay r set tick = tick + 1, prev = r.cur, cur = pg_current_snapshot(),
          floor = coalesce(least(f.lo_old, f.lo_new, f.lo_held), ${none}), floor_new = coalesce(f.lo_new, ${none}),
          done_seq = coalesce(least(f.lo_old, f.lo_new, f.lo_held) - 1, r.done_seq), finished = least(f.lo_old, f.lo_new, f.lo_held) is null and not f.releasing,
          releasing = f.releasing, seen_at = clock_timestamp()
        from f
        where r.stream = $1 and r.epoch = $2 and r.finished and r.cur::text = f.p::text
          and (least(f.lo_old, f.lo_new, f.lo_held) is not null or f.releasing or $3)
        returning r.*
      ), parked as (
        update ${schema}.relay_parked p set release_tick = t.tick from t where p.stream = t.stream and p.releasing and p.release_tick is null and t.releasing
        returning p.aggregatetype, p.aggregateid, t.tick
      ), held as (
        update ${schema}.relay_held h set release_tick = parked.tick from parked
        where h.aggregatetype = parked.aggregatetype and h.aggregateid = parked.aggregateid
      )
      select generation, tick, prev, cur, floor_new, done_seq, finished, releasing, skipping from t`,
    params: [stream, epoch, even],
  }
}

/** What a page reads: the tick it belongs to, and where to go on. */
export interface PageRequest {
  readonly tick: number
  readonly prev: string
  readonly cur: string
  readonly floorNew: string
  readonly releasing: boolean
  readonly skipping: boolean
  readonly after: string
  readonly limit: number
}

/** A page ends with the row that reaches this, so that a thousand large rows do not fill the memory. A change of it moves the cuts of pages. */
export const pageBytes = 4_000_000

/**
 * The next rows of a tick, by number: those of transactions that `prev` lists as running, those begun later (from their own floor on, so that
 * a long transaction's low numbers do not make this half walk the archive), and the held rows this tick releases.
 */
export function page(scope: StreamScope, request: PageRequest): Statement {
  const { schema, stream } = scope
  const [after, floorNew, limit] = [integer(request.after), integer(request.floorNew), integer(request.limit)]
  const [prev, cur] = [snapshot(request.prev), snapshot(request.cur)]
  const held = `union all (select o.* from ${schema}.relay_held h join ${schema}.outbox o on o.seq = h.seq
    where h.stream = ${stream} and h.release_tick = ${request.tick} and h.seq > ${after} order by h.seq limit ${limit})`
  const skipped = `exists (select from ${schema}.relay_skip s where s.stream = ${stream} and s.id = z.id)`
  return {
    text: `select ${pageColumns}, ${request.skipping ? skipped : 'false'} as skipped from (
      select z.*, sum(octet_length(z.payload)) over (order by z.seq) as bytes from (
      (select o.* from pg_snapshot_xip(${prev}) x cross join lateral
        (select * from ${schema}.outbox o where o.xid = x and o.seq > ${after} ${shard(scope)} order by o.seq limit ${limit}) o
        where pg_visible_in_snapshot(x, ${cur}) order by o.seq limit ${limit})
      union all
      (select * from ${schema}.outbox o where o.seq > greatest(${after}, ${floorNew} - 1) and o.xid >= pg_snapshot_xmax(${prev})
        and pg_visible_in_snapshot(o.xid, ${cur}) ${shard(scope)} order by o.seq limit ${limit})
      ${request.releasing ? held : ''}) z
      order by z.seq limit ${limit}) z
      where z.bytes - octet_length(z.payload) < ${pageBytes} order by z.seq`,
  }
}

/** What `pageRows` reads, and in this order. */
export const pageColumns =
  'z.seq, z.id::text as id, z.aggregatetype, z.aggregateid, z.type, z.payload, z.headers, z.created_at, z.bytes::int as bytes'

/** A statement that reads, as a copy in binary: a page comes as bytes, and its payloads are not written and read again as text. `expected`: its size, about. */
export function copied({ text }: Statement, expected: number): Statement {
  return { text: `copy (${text}) to stdout (format binary)`, copyBytes: expected }
}

/** A copy takes no parameters, so values stand in its text. */
export function integer(value: string | number): string {
  if (!/^-?\d{1,19}$/.test(String(value))) throw notOurs(value)
  return `${value}::bigint`
}

function snapshot(value: string): string {
  if (!/^\d+:\d+:[\d,]*$/.test(value)) throw notOurs(value)
  return `'${value}'::pg_snapshot`
}

function notOurs(value: string | number): TidemarkError {
  return new TidemarkError('INPUT_INVALID', `Expected a number or a snapshot that Postgres has given; got ${JSON.stringify(value)}.`)
}

/** Keys whose rows are left out from `from_seq` on. Those released in this tick are not among them. */
export function holding({ schema, stream }: StreamScope, tick: number): Statement {
  return {
    text: `select aggregatetype, aggregateid, from_seq from ${schema}.relay_parked where stream = $1 and release_tick is distinct from $2`,
    params: [stream, tick],
  }
}

/** Moves the checkpoint, while the epoch is ours; a finished tick is noted about once a minute. */
export function checkpoint({ schema, stream }: StreamScope, epoch: string, tick: number, doneSeq: string, finished: boolean): Statement {
  const update = `update ${schema}.relay set done_seq = $4, finished = $5, done_at = clock_timestamp(), seen_at = clock_timestamp(),
    releasing = releasing and not $5, skipping = skipping and not $5 where stream = $1 and epoch = $2 and tick = $3 and not finished returning stream, cur`
  if (!finished) return { text: update, params: [stream, epoch, tick, doneSeq, finished] }
  return {
    text: `with done as (${update}), noted as (
        insert into ${schema}.relay_tick (stream, cur) select stream, cur from done
        where not exists (select from ${schema}.relay_tick where stream = $1 and finished_at > clock_timestamp() - interval '1 minute')
      ) select from done`,
    params: [stream, epoch, tick, doneSeq, finished],
  }
}

/** A row that was left out. */
export interface HeldSeq {
  readonly seq: string
  readonly id: string
  readonly aggregateType: string
  readonly aggregateId: string
}

/** Notes rows that were left out. One that a tick had wanted to release is held again. */
export function hold({ schema, stream }: StreamScope, rows: readonly HeldSeq[]): Statement {
  return {
    text: `insert into ${schema}.relay_held (stream, seq, id, aggregatetype, aggregateid)
      select $1::int, * from unnest($2::bigint[], $3::uuid[], $4::text[], $5::text[]) on conflict (stream, seq) do update set release_tick = null`,
    params: [
      stream,
      rows.map(({ seq }) => seq),
      rows.map(({ id }) => id),
      rows.map((row) => row.aggregateType),
      rows.map((row) => row.aggregateId),
    ],
  }
}

/** Held rows of this tick up to `doneSeq` are sent. */
export function unhold({ schema, stream }: StreamScope, tick: number, doneSeq: string): Statement {
  return { text: `delete from ${schema}.relay_held where stream = $1 and release_tick = $2 and seq <= $3`, params: [stream, tick, doneSeq] }
}

/** The released keys flow again. */
export function endRelease({ schema, stream }: StreamScope, tick: number): Statement {
  return { text: `delete from ${schema}.relay_parked where stream = $1 and release_tick = $2`, params: [stream, tick] }
}

/** The ids on the wire before a rebase are behind us. */
export function endSkipping({ schema, stream }: StreamScope): Statement {
  return { text: `delete from ${schema}.relay_skip where stream = $1`, params: [stream] }
}

/** Locks the stream's row for what must be one with the epoch. */
export function lockOwned({ schema, stream }: StreamScope, epoch: string, tick: number): Statement {
  return { text: `select from ${schema}.relay where stream = $1 and epoch = $2 and tick = $3 for update`, params: [stream, epoch, tick] }
}

/**
 * Ends a transaction whose relay stands still between two of its round trips, with the stream's row locked. Belongs into the first one. After the
 * lease its successor may come, so nothing is lost by it.
 */
export function endStandstill(leaseMs: number): Statement {
  return { text: `select set_config('idle_in_transaction_session_timeout', $1, true)`, params: [String(Math.max(1, Math.ceil(leaseMs)))] }
}

/** A refused row and why. */
export interface RefusedSeq extends HeldSeq {
  readonly reason: string
}

/** Parks the keys of refused rows. A key refused again while it was being released is parked again, from that row on. */
export function park({ schema, stream }: StreamScope, refused: readonly RefusedSeq[]): Statement {
  return {
    text: `insert into ${schema}.relay_parked (stream, from_seq, aggregatetype, aggregateid, reason)
      select distinct on (t, k) $1::int, * from unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) as x(s, t, k, r) order by t, k, s
      on conflict (aggregatetype, aggregateid) do update
      set from_seq = excluded.from_seq, reason = excluded.reason, parked_at = now(), releasing = false, release_tick = null`,
    params: [
      stream,
      refused.map(({ seq }) => seq),
      refused.map((row) => row.aggregateType),
      refused.map((row) => row.aggregateId),
      refused.map(({ reason }) => reason),
    ],
  }
}

/** Tells the others that the owner lives. No row: it is the owner no more. */
export function beat({ schema, stream }: StreamScope, epoch: string): Statement {
  return {
    text: `update ${schema}.relay set seen_at = clock_timestamp() where stream = $1 and epoch = $2 returning stream`,
    params: [stream, epoch],
  }
}

/** A clean stop: whoever waits may take over at once. */
export function yieldStream({ schema, stream }: StreamScope, epoch: string): Statement {
  return { text: `update ${schema}.relay set owner = null where stream = $1 and epoch = $2`, params: [stream, epoch] }
}

export function noteTopics({ schema, stream }: StreamScope, topics: readonly string[]): Statement {
  return { text: `insert into ${schema}.relay_topic select $1::int, unnest($2::text[]) on conflict do nothing`, params: [stream, topics] }
}
