-- The consumer: positions that move in the handlers' own transaction, what was handled, what waits, and what was given up.
-- Lock order everywhere: consumer_position by lane, parked_key by key, dead_letter by id.

-- Ends the statement, and with it the transaction, unless `ok`. The message tells the caller why.
create function {schema}.consumer_require(ok boolean, otherwise text) returns boolean
  language plpgsql as $$
begin
  if ok then
    return true;
  end if;
  raise exception using errcode = 'TMC01', message = otherwise;
end $$;

-- One row per lane of a partition, as a group reads it. Rewritten by every batch: room on the page keeps that off the index.
create table {schema}.consumer_position (
  group_name text collate "C" not null,
  topic text collate "C" not null,
  -- The broker's: a topic made anew is another one.
  topic_id text collate "C" not null,
  partition int not null,
  lane int not null,
  -- The number of lanes this row belongs to.
  lanes int not null check (lane >= 0 and lane < lanes),
  -- Everything of this lane before it is handled, waits in parked_msg, or is in dead_letter.
  next_offset bigint not null,
  -- Rises with every owner.
  epoch bigint not null default 0,
  -- Rises whenever somebody else than the owner parks or holds a key of the lane.
  holds bigint not null default 0,
  -- How far the lane has come in each in-order stream: {"<source epoch>/<generation>/<stream>": [tick, seq]}.
  high_water text not null default '{}',
  primary key (group_name, topic_id, partition, lane)
) with (fillfactor = 30, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

-- Identities of handled messages, for those that no high water covers. A ring of tables: the newest is written, all are looked into, and the
-- oldest is emptied at once when its turn comes.
create table {schema}.inbox (
  group_name text collate "C" not null,
  identity text collate "C" not null,
  slot smallint not null,
  primary key (group_name, identity, slot)
) partition by list (slot);
create table {schema}.inbox_0 partition of {schema}.inbox for values in (0);
create table {schema}.inbox_1 partition of {schema}.inbox for values in (1);
create table {schema}.inbox_2 partition of {schema}.inbox for values in (2);
create table {schema}.inbox_3 partition of {schema}.inbox for values in (3);

create table {schema}.inbox_rotation (
  only_row boolean primary key default true check (only_row),
  current smallint not null default 0,
  -- Written as well for a while after a change, for the sake of transactions that have not seen it.
  previous smallint,
  since timestamptz not null default now()
);
insert into {schema}.inbox_rotation default values;

-- A key that waits. Exists exactly while it has messages in parked_msg, or is held by somebody.
create table {schema}.parked_key (
  group_name text collate "C" not null,
  topic_id text collate "C" not null,
  partition int not null,
  key bytea not null,
  -- Keys may be longer than an index takes.
  key_hash bytea not null generated always as (sha256(key)) stored,
  -- Whoever works on the key. Tokens come from parked_lease and are never used again.
  lease bigint,
  lease_until timestamptz,
  attempts int not null default 0,
  next_attempt_at timestamptz not null default now(),
  reason text not null,
  held_by text,
  primary key (group_name, topic_id, partition, key_hash)
);
create sequence {schema}.parked_lease;

-- Messages of parked keys, as they stood in the log. The one with the smallest offset is the head of its key.
create table {schema}.parked_msg (
  group_name text collate "C" not null,
  topic_id text collate "C" not null,
  partition int not null,
  key bytea not null,
  key_hash bytea not null generated always as (sha256(key)) stored,
  log_offset bigint not null,
  topic text not null,
  log_time timestamptz not null,
  value bytea,
  -- [[name, text | null | {"base64": …}], …]. Not jsonb, which refuses some texts.
  headers json not null,
  mode text not null default 'live' check (mode in ('live', 'replay')),
  -- A dead letter that blocks its key: it stays the head, and nothing behind it runs.
  dead boolean not null default false,
  parked_at timestamptz not null default now(),
  primary key (group_name, topic_id, partition, key_hash, log_offset)
);

create table {schema}.dead_letter (
  id bigint generated always as identity primary key,
  group_name text collate "C" not null,
  topic text not null,
  topic_id text collate "C" not null,
  partition int not null,
  log_offset bigint not null,
  log_time timestamptz not null,
  key bytea,
  value bytea,
  headers json not null,
  message_id text,
  type text,
  handler text,
  policy text not null check (policy in ('block', 'skip')),
  state text not null default 'dead' check (state in ('dead', 'redriven', 'discarded')),
  error_class text not null,
  reason text not null,
  stack text,
  -- [{"at": …, "error": …}, …]
  attempts json not null,
  code_version text,
  died_at timestamptz not null default now(),
  unique (group_name, topic_id, partition, log_offset)
);
create index dead_letter_died_at on {schema}.dead_letter (group_name, state, died_at);
