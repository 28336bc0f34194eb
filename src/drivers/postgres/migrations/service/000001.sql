-- The outbox: messages of the service's own transactions, and how far each relay stream has come.

create table {schema}.source (
  only_row boolean primary key default true check (only_row),
  -- Names this database for ever; `life` rises when it is restored or copied and goes on (tidemark outbox rebase).
  id text not null default left(replace(gen_random_uuid()::text, '-', ''), 16),
  life int not null default 1
);
insert into {schema}.source default values;

create table {schema}.outbox (
  -- First, because defaults are evaluated in the order of the columns: the transaction has its xid before the number is drawn,
  -- and the sealing of partitions relies on that.
  xid xid8 not null default pg_current_xact_id(),
  seq bigint generated always as identity,
  id uuid not null,
  aggregatetype text not null,
  aggregateid text not null,
  type text not null,
  payload bytea not null,
  headers jsonb not null default '{}',
  created_at timestamptz not null default now(),
  primary key (seq)
) partition by range (seq);

-- The probe, the floors of a tick, and the rows of long transactions in the order of their numbers.
create index outbox_xid_seq on {schema}.outbox (xid, seq);

create table {schema}.outbox_part (
  name text primary key,
  lo bigint not null,
  hi bigint not null,
  state text not null check (state in ('open', 'sealed', 'detaching', 'dropped')),
  -- Every number below `hi` was drawn by a transaction with a smaller xid than this.
  mark xid8,
  sealed_at timestamptz
);

do $$
begin
  for i in 0..3 loop
    execute format('create table {schema}.%I (like {schema}.outbox including defaults including constraints including indexes)', 'outbox_' || i * 1000000);
    execute format('alter table {schema}.outbox attach partition {schema}.%I for values from (%s) to (%s)', 'outbox_' || i * 1000000, i * 1000000, (i + 1) * 1000000);
    insert into {schema}.outbox_part (name, lo, hi, state) values ('outbox_' || i * 1000000, i * 1000000, (i + 1) * 1000000, 'open');
  end loop;
end $$;

-- Which of 1,024 locks a key takes. In SQL, so that every writer, in whatever language, agrees.
create function {schema}.outbox_stripe(aggregatetype text, aggregateid text) returns int
  language sql immutable strict parallel safe
  return (hashtextextended(aggregateid, hashtextextended(aggregatetype, 0)) & 1023)::int;

-- Which of n relay streams sends a key.
create function {schema}.outbox_shard(aggregatetype text, aggregateid text, streams int) returns int
  language sql immutable strict parallel safe
  return ((hashtextextended(aggregateid, hashtextextended(aggregatetype, 1)) & 2147483647) % streams)::int;

create table {schema}.relay (
  stream int primary key,
  streams int not null check (stream >= 0 and stream < streams),
  generation int not null default 1,
  epoch bigint not null default 0,
  tick bigint not null default 0,
  -- A tick publishes what is visible in `cur` and not in `prev`. Before the first one nothing is visible: 3 is the first xid of a cluster.
  prev pg_snapshot not null default '3:3:',
  cur pg_snapshot not null default '3:3:',
  floor bigint not null default 0,
  floor_new bigint not null default 0,
  done_seq bigint not null default 0,
  finished boolean not null default true,
  -- When `done_seq` last moved.
  done_at timestamptz,
  -- The tick takes along rows held back before.
  releasing boolean not null default false,
  -- Ids in relay_skip are to be left out of the next tick.
  skipping boolean not null default false,
  system_identifier text not null,
  database_oid oid not null,
  -- The process that owns the stream, and when it was last heard of. Nobody takes a stream from an owner that is heard of.
  owner text,
  seen_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

-- A finished tick now and then, to tell about when a row was published. Nothing but the view below reads it.
create table {schema}.relay_tick (
  stream int not null,
  finished_at timestamptz not null default clock_timestamp(),
  cur pg_snapshot not null,
  primary key (stream, finished_at)
);

-- Topics a stream has written to.
create table {schema}.relay_topic (
  stream int not null,
  topic text not null,
  primary key (stream, topic)
);

-- Ids that were on the wire already when a restored database went on: left out of its first tick.
create table {schema}.relay_skip (
  stream int not null,
  id uuid not null,
  primary key (stream, id)
);

-- Keys held back, from the row on that the broker refused.
create table {schema}.relay_parked (
  aggregatetype text not null,
  aggregateid text not null,
  stream int not null,
  from_seq bigint not null,
  reason text not null,
  parked_at timestamptz not null default now(),
  -- An operator asked for it; the next tick takes the held rows of the key along and notes its number here.
  releasing boolean not null default false,
  release_tick bigint,
  primary key (aggregatetype, aggregateid)
);

-- The rows left out so far, one by one.
create table {schema}.relay_held (
  stream int not null,
  seq bigint not null,
  id uuid not null,
  aggregatetype text not null,
  aggregateid text not null,
  release_tick bigint,
  primary key (stream, seq)
);
create index relay_held_key on {schema}.relay_held (aggregatetype, aggregateid, seq);

-- Messages that will never be published, and who decided it.
create table {schema}.relay_discarded (
  seq bigint primary key,
  id uuid not null,
  aggregatetype text not null,
  aggregateid text not null,
  type text,
  reason text not null,
  actor text not null,
  discarded_at timestamptz not null default now()
);

-- The outbox as the textbooks draw it. `published_at` is null until the message is on the wire. Relays keep no time per message, so it is
-- the end of the first noted tick that had it, up to a minute late.
create view {schema}.outbox_messages as
select o.id, o.aggregatetype as aggregate_type, o.aggregateid as aggregate_id, o.type as event_type, o.payload, o.created_at,
  case when p.published then coalesce(
    (select min(t.finished_at) from {schema}.relay_tick t where t.stream = p.stream and pg_visible_in_snapshot(o.xid, t.cur)),
    p.done_at
  ) end as published_at
from {schema}.outbox o
left join lateral (
  select r.stream, r.done_at,
    (pg_visible_in_snapshot(o.xid, r.prev) or pg_visible_in_snapshot(o.xid, r.cur) and (r.finished or o.seq <= r.done_seq))
    and not exists (select from {schema}.relay_held h where h.stream = r.stream and h.seq = o.seq)
    and not exists (select from {schema}.relay_discarded d where d.seq = o.seq) as published
  from {schema}.relay r
  where r.stream = {schema}.outbox_shard(o.aggregatetype, o.aggregateid, r.streams)
) p on true;
