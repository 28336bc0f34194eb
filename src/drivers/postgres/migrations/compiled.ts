// Written by scripts/compile-migrations.mjs from the numbered files beside it. Change those, then run it.

/** One numbered file. `{schema}` stands for the quoted name of the schema. */
export interface Migration {
  readonly version: number
  /** sha256 of `sql`, in hex. */
  readonly checksum: string
  readonly sql: string
}

/** Tables of a service's own database, and of the broker's log. */
export type MigrationSet = 'service' | 'log'

// prettier-ignore
export const migrations: Readonly<Record<MigrationSet, readonly Migration[]>> = {
  service: [
    {
      version: 1,
      checksum: 'ef3c79ba73ade6c33069ba1c0bb0eafb2fce95556d9ba6f4d62d9acc1bf3a163',
      sql: `-- The outbox: messages of the service's own transactions, and how far each relay stream has come.

create table {schema}.source (
  only_row boolean primary key default true check (only_row),
  -- Names this database for ever; \`life\` rises when it is restored or copied and goes on (tidemark outbox rebase).
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
  -- Every number below \`hi\` was drawn by a transaction with a smaller xid than this.
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
  -- A tick publishes what is visible in \`cur\` and not in \`prev\`. Before the first one nothing is visible: 3 is the first xid of a cluster.
  prev pg_snapshot not null default '3:3:',
  cur pg_snapshot not null default '3:3:',
  floor bigint not null default 0,
  floor_new bigint not null default 0,
  done_seq bigint not null default 0,
  finished boolean not null default true,
  -- When \`done_seq\` last moved.
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

-- The outbox as the textbooks draw it. \`published_at\` is null until the message is on the wire. Relays keep no time per message, so it is
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
`,
    },
    {
      version: 2,
      checksum: 'ad0928cb5922192ba58ca8596b1dffe1f10d77cf3b439a745c614a53e5cd32f5',
      sql: `-- The consumer: positions that move in the handlers' own transaction, what was handled, what waits, and what was given up.
-- Lock order everywhere: consumer_position by lane, parked_key by key, dead_letter by id.

-- Ends the statement, and with it the transaction, unless \`ok\`. The message tells the caller why.
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
`,
    },
    {
      version: 3,
      checksum: '1ae7d3e08a52eec0ae10fca6e233f8521be78f31bf6e4f7fce5411284d529afa',
      sql: `-- Publishing one message, the most common case, as a function: its plans are kept for the life of the connection, whereas a statement that a
-- pooler may stand behind is planned at every use.

-- Locks the message's key, unless the caller states that it holds it, and appends. The lock comes in a statement before the insert: the number
-- is drawn when nobody else publishes this key, so within a key numbers rise in the order of the commits.
create function {schema}.outbox_append(id uuid, aggregatetype text, aggregateid text, type text, payload bytea, headers text, key_locked boolean)
  returns void
  language plpgsql as $$
begin
  if not key_locked then
    -- "tide" in ASCII: the first number of our locks.
    perform pg_advisory_xact_lock(1953064037, {schema}.outbox_stripe($2, $3));
  end if;
  insert into {schema}.outbox (id, aggregatetype, aggregateid, type, payload, headers) values ($1, $2, $3, $4, $5, $6::jsonb);
end $$;
`,
    },
    {
      version: 4,
      checksum: '7e3e4aac39308b97fd7f8e8ce7927095e2331f7f6599a2e218aef0e34bf8048a',
      sql: `-- Where the broker keeps leader epochs (Kafka): that of the record before next_offset, which tells a log that lost its end and grew again from the one
-- that was read. It counts only while leader_epoch_at is next_offset: whoever sets next_offset by hand, or runs an older version, need not know of it.
alter table {schema}.consumer_position add column leader_epoch int, add column leader_epoch_at bigint;
`,
    },
    {
      version: 5,
      checksum: '82061854addbc2750fa5a2228528ea97e708e769fda27abdaca5262a6c954ab2',
      sql: `-- When things fail: keys that are tried again, bounds on what waits, crashes that are blamed on a message, and dead letters one can work with.

-- What a crash may have been caused by. A lane whose owner did not give it back is run one message at a time, each marked before it runs.
alter table {schema}.consumer_position
  -- Its owner has taken it, and has not given it back in order.
  add column taken boolean not null default false,
  -- At most so many messages of the lane from next_offset on can have been under way.
  add column in_flight int not null default 0,
  -- The message marked last, and how often it was.
  add column marked_offset bigint,
  add column marks int not null default 0;

alter table {schema}.parked_key
  add column topic text collate "C" not null default '',
  -- What waits in parked_msg, kept up to date by whoever adds or takes away under the row's lock. Bounds rest on it.
  add column messages bigint not null default 0,
  add column bytes bigint not null default 0,
  -- Of the head: what its failures were, [{"at": …, "error": …}, …], and how often a process ended while it worked on the key.
  add column failures json not null default '[]',
  add column crashes int not null default 0,
  add column parked_at timestamptz not null default now(),
  -- Of the hold that \`held_by\` names: since when, and why.
  add column held_at timestamptz,
  add column held_reason text;
update {schema}.parked_key k set (messages, bytes, topic) = (
  select count(*), coalesce(sum(octet_length(m.key) + coalesce(octet_length(m.value), 0)), 0), coalesce(max(m.topic), '')
  from {schema}.parked_msg m where m.group_name = k.group_name and m.topic_id = k.topic_id and m.partition = k.partition and m.key_hash = k.key_hash);
-- What a retrier asks for: keys that are due. A blocked key is due at infinity.
create index parked_key_due on {schema}.parked_key (group_name, next_attempt_at);
update {schema}.parked_key k set next_attempt_at = 'infinity' where exists (
  select from {schema}.parked_msg m where m.group_name = k.group_name and m.topic_id = k.topic_id and m.partition = k.partition
    and m.key_hash = k.key_hash and m.dead);

alter table {schema}.parked_msg
  -- A message without a key waits under a made-up one that no other message has.
  add column keyless boolean not null default false,
  add column bytes int not null default 0,
  -- The dead letter it was before it was redriven.
  add column letter_id bigint;

alter table {schema}.dead_letter
  -- Letters that died alike: error class, the first line of the stack that is not of a library, type and group, as a hash.
  add column fingerprint text collate "C" not null default '',
  -- That line: where it was thrown.
  add column frame text,
  add column first_failed_at timestamptz not null default now(),
  add column last_failed_at timestamptz not null default now(),
  -- Charged runs, over all its lives.
  add column retry_count int not null default 0,
  -- Rises with every change of the letter; who changes one names the version that he saw.
  add column version int not null default 1,
  add column redrives int not null default 0,
  -- Who decided its end, when and why.
  add column ended_at timestamptz,
  add column ended_by text,
  add column end_reason text,
  add column assignee text,
  add column archived_at timestamptz;
update {schema}.dead_letter set first_failed_at = died_at, last_failed_at = died_at;
create index dead_letter_group on {schema}.dead_letter (state, fingerprint, died_at) include (group_name, type, error_class) where archived_at is null;
create index dead_letter_newest on {schema}.dead_letter (group_name, id desc) where state = 'dead' and archived_at is null;

-- Long-running operations: planned, frozen, run by whichever process has the lease, watched. And who did what.

create sequence {schema}.operation_lease;

create table {schema}.operation (
  id uuid primary key,
  kind text collate "C" not null,
  params json not null,
  settings json not null,
  -- What the plan said: {"count": …, "summary": …}.
  planned json not null,
  state text not null default 'planned' check (state in ('planned', 'freezing', 'running', 'paused', 'done', 'failed', 'cancelled')),
  -- The set of items is complete.
  frozen boolean not null default false,
  total bigint not null default 0,
  -- Items below this place have an outcome.
  next_place bigint not null default 0,
  done bigint not null default 0,
  failed bigint not null default 0,
  skipped bigint not null default 0,
  started bigint not null default 0,
  -- What was tried and had failed when it was last resumed.
  base_tried bigint not null default 0,
  base_failed bigint not null default 0,
  actor text not null,
  roles text[] not null,
  reason text,
  error text,
  -- Whoever works on it. Tokens come from operation_lease and are never used again; whoever has another one commits nothing.
  lease bigint,
  lease_until timestamptz,
  runner text,
  created_at timestamptz not null default clock_timestamp(),
  changed_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  ended_at timestamptz
) with (fillfactor = 50);
create index operation_open on {schema}.operation (id) where state in ('freezing', 'running');

create table {schema}.operation_item (
  operation uuid not null,
  place bigint not null,
  -- Those of one group stand together and go into one step.
  item_group text collate "C",
  data json not null,
  outcome text check (outcome in ('done', 'failed', 'skipped', 'started')),
  reason text,
  at timestamptz,
  primary key (operation, place)
) with (fillfactor = 80);
-- What is to be looked at again.
create index operation_item_started on {schema}.operation_item (operation, place) where outcome = 'started';

create table {schema}.audit_log (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  actor text collate "C" not null,
  roles text[] not null,
  -- <noun>.<verb>
  verb text collate "C" not null,
  target_type text collate "C" not null,
  target_id text collate "C",
  reason text,
  origin text not null,
  host text not null,
  outcome text not null check (outcome in ('asked', 'done', 'refused', 'failed')),
  -- Facts without payloads.
  details json not null
);
create index audit_log_target on {schema}.audit_log (target_type, target_id, id);

create function {schema}.audit_log_keep() returns trigger
  language plpgsql as $$
begin
  raise exception using errcode = 'TMA01', message = 'the audit log is append-only: its lines are neither changed nor removed';
end $$;
create trigger audit_log_keep before update or delete or truncate on {schema}.audit_log
  for each statement execute function {schema}.audit_log_keep();

-- Dead letters one can work with: what was edited, who did what, and who is told of them.

alter table {schema}.dead_letter add column edits int not null default 0;

-- What stood in a letter before each of its edits. The newest stands in the letter itself.
create table {schema}.dead_letter_edit (
  letter_id bigint not null references {schema}.dead_letter (id) on delete cascade,
  number int not null,
  value bytea,
  headers json not null,
  actor text not null,
  at timestamptz not null default now(),
  reason text,
  primary key (letter_id, number)
);

create table {schema}.dead_letter_event (
  letter_id bigint not null references {schema}.dead_letter (id) on delete cascade,
  number bigint generated always as identity,
  at timestamptz not null default now(),
  actor text not null,
  action text not null check (action in ('assigned', 'commented', 'archived', 'restored', 'discarded', 'edited', 'redriven')),
  text text,
  primary key (letter_id, number)
);

-- A list: newest first, a page at a time.
create index dead_letter_list on {schema}.dead_letter (died_at desc, id desc) where state = 'dead' and archived_at is null;
-- Groups and statistics are read from the index alone.
drop index {schema}.dead_letter_group;
create index dead_letter_group on {schema}.dead_letter (fingerprint, died_at) include (group_name, type, error_class, redrives)
  where state = 'dead' and archived_at is null;
drop index {schema}.dead_letter_newest;
-- That takes a table whose new pages were vacuumed; the server's own thresholds would let many letters come before.
alter table {schema}.dead_letter set (autovacuum_vacuum_insert_threshold = 1000, autovacuum_vacuum_insert_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02);

-- Whom a consumer group's letters concern, as its processes say at their start.
create table {schema}.consumer_contact (
  group_name text collate "C" primary key,
  owner text,
  runbook text
);

-- What was said of each group's letters so far, so that many processes and restarts say it once.
create table {schema}.dead_letter_alert (
  group_name text collate "C" primary key,
  state json not null
);

-- The one process that says it.
create table {schema}.dead_letter_watch (
  only_row boolean primary key default true check (only_row),
  holder text,
  held_until timestamptz not null default now()
);
insert into {schema}.dead_letter_watch default values;

-- Calls to the outside, and requests that came in: begun, done with the response, or of unknown outcome.

create table {schema}.idempotency_key (
  -- A consumer group, or whoever calls an API.
  scope text collate "C" not null,
  -- The message in the inbox's form, or what the caller named its request.
  identity text collate "C" not null,
  step text collate "C" not null,
  -- Of whoever works on it, or did last. From a sequence, and never used again.
  token bigint not null,
  state text not null default 'in progress' check (state in ('in progress', 'done', 'unknown')),
  attempts int not null default 1,
  -- Of what was asked.
  fingerprint text collate "C",
  lease_until timestamptz not null,
  -- What an answer is stored as, and the answer.
  format text,
  response bytea,
  begun_at timestamptz not null default clock_timestamp(),
  -- From then on it may be removed; infinity: somebody has to say first how it ended.
  expires_at timestamptz not null,
  primary key (scope, identity, step)
);
create sequence {schema}.idempotency_token;
create index idempotency_key_expired on {schema}.idempotency_key (expires_at);

-- When each table of the inbox's ring was begun to be written, by its number: what was handled since the oldest of them is remembered. null: not known.
alter table {schema}.inbox_rotation add column began timestamptz[] not null default array[null, null, null, null]::timestamptz[];
update {schema}.inbox_rotation set began[current + 1] = since;

-- Which keys each raise of a lane's \`holds\` was for, so that a batch under way need not be run again where none of them is its own. Kept for some minutes.
create table {schema}.consumer_hold (
  group_name text collate "C" not null,
  topic_id text collate "C" not null,
  partition int not null,
  lane int not null,
  -- Of the lane's row, and its \`holds\` from then on.
  epoch bigint not null,
  hold bigint not null,
  keys bytea[] not null,
  -- Of the keys, in their order; see keyHash in src/consumer/partition/lane-of.ts.
  hashes int[] not null,
  at timestamptz not null default now(),
  primary key (group_name, topic_id, partition, lane, epoch, hold)
);

-- The keys held in a lane since its owner knew of \`known\`, up to \`now_at\`. Fails where they are not known, or where one of them may be among those that ran.
-- It is called under the lock of the lane's row, and being volatile it sees what was committed while that lock was waited for.
create function {schema}.consumer_held_since(of_group text, of_topic text, of_partition int, of_lane int, of_epoch bigint, known bigint, now_at bigint, ran int[])
  returns bytea[]
  language plpgsql volatile as $$
declare
  noted bigint;
  ours boolean;
  held bytea[];
begin
  select count(*), bool_or(h.hashes && ran) into noted, ours from {schema}.consumer_hold h
  where h.group_name = of_group and h.topic_id = of_topic and h.partition = of_partition and h.lane = of_lane and h.epoch = of_epoch
    and h.hold > known and h.hold <= now_at;
  if noted <> now_at - known or ours then
    raise exception using errcode = 'TMC01', message = 'moved';
  end if;
  select array_agg(k) into held from {schema}.consumer_hold h, unnest(h.keys) k
  where h.group_name = of_group and h.topic_id = of_topic and h.partition = of_partition and h.lane = of_lane and h.epoch = of_epoch
    and h.hold > known and h.hold <= now_at;
  return coalesce(held, '{}');
end $$;
`,
    },
  ],
  log: [
    {
      version: 1,
      checksum: 'bb5bd888a947563f30166b78d66bc1a9c65ae419249efdc5d3e1284be5c7976e',
      sql: `-- The broker's log: topics, their partitions' heads, senders, batches of records, and the groups that read them.

create table {schema}.log_topic (
  key int primary key generated always as identity,
  name text not null unique,
  -- Another one when a topic is made anew under the same name.
  id uuid not null default gen_random_uuid(),
  partitions int not null check (partitions > 0),
  -- null: for ever.
  retention_ms bigint,
  retention_bytes bigint,
  created_at timestamptz not null default now()
);

-- One row per partition. Appends lock it, in the order of (topic, partition), and so commit in the order of offsets.
create table {schema}.log_head (
  topic int not null references {schema}.log_topic on delete cascade,
  partition int not null,
  next_offset bigint not null default 0,
  start_offset bigint not null default 0,
  -- Milliseconds since 1970 of the last append; never goes back, even if the clock does.
  last_ms bigint not null default 0,
  bytes bigint not null default 0,
  primary key (topic, partition)
) with (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

-- Who may send, and what was sent last.
create table {schema}.log_stream (
  source text not null,
  stream int not null,
  -- (life of the source, epoch of the stream) rises with every owner.
  life bigint not null,
  epoch bigint not null,
  -- The coordinate of the last record, in wire form.
  last text,
  primary key (source, stream)
) with (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

-- What one append brought to one partition. No foreign key: its check would lock the topic's row in every append. The body's form is described in docs/design/postgres-log.md and read by log_records.
create table {schema}.log_batch (
  topic int not null,
  partition int not null,
  base_offset bigint not null,
  records int not null,
  appended_ms bigint not null,
  body bytea not null,
  primary key (topic, partition, base_offset)
) with (autovacuum_vacuum_insert_scale_factor = 0.05);
-- Never compressed: a fetch hands the bytes on as they are.
alter table {schema}.log_batch alter column body set storage external;
create index log_batch_time on {schema}.log_batch (topic, partition, appended_ms, base_offset);

create table {schema}.log_group (
  name text primary key,
  -- Rises with every change of members, targets or owners; a member that knows it need not look.
  version bigint not null default 0
) with (fillfactor = 50);

create table {schema}.log_member (
  "group" text not null references {schema}.log_group on delete cascade,
  id uuid not null,
  client_id text,
  topics text[] not null,
  session_timeout_ms int not null,
  drain_timeout_ms int not null,
  -- Order of joining.
  number bigint not null generated always as identity,
  heartbeat_at timestamptz not null default clock_timestamp(),
  primary key ("group", id)
) with (fillfactor = 50);

create table {schema}.log_assignment (
  "group" text not null references {schema}.log_group on delete cascade,
  topic int not null references {schema}.log_topic on delete cascade,
  partition int not null,
  -- Who reads it, and who is to. They differ while the owner drains.
  owner uuid,
  target uuid,
  -- From then on the owner is no longer waited for.
  give_away_at timestamptz,
  primary key ("group", topic, partition)
) with (fillfactor = 50);

-- How far a group says it has come. For people and tools: Tidemark's own positions live in each service's database.
create table {schema}.log_group_offset (
  "group" text not null,
  topic int not null references {schema}.log_topic on delete cascade,
  partition int not null,
  next_offset bigint not null,
  committed_at timestamptz not null default now(),
  primary key ("group", topic, partition)
) with (fillfactor = 50);

-- Appends the batches of one page, all or none, durably. Partitions come sorted by (topic, partition); \`bytes\` are the batches' lengths in
-- \`bodies\`, one after the other. Outcomes: \`appended\` with the offset after each batch; \`fenced\`; \`moved\` when the stream's last coordinate is not
-- \`known\`, because an earlier reply was lost; \`missing\` with the place of a batch whose partition does not exist.
create function {schema}.log_append(
  p_source text, p_stream int, p_life bigint, p_epoch bigint, p_known text, p_last text,
  p_topics int[], p_partitions int[], p_records int[], p_bytes int[], p_bodies bytea,
  out outcome text, out last text, out ends bigint[])
language plpgsql as $$
declare
  next_one bigint;
  at_ms bigint;
  start int := 1;
  held record;
begin
  if current_setting('synchronous_commit') in ('off', 'local') then
    perform set_config('synchronous_commit', 'on', true);
  end if;

  select s.life, s.epoch, s.last into held from {schema}.log_stream s where s.source = p_source and s.stream = p_stream for no key update;
  last := held.last;
  if held.life is distinct from p_life or held.epoch is distinct from p_epoch then
    outcome := 'fenced';
    return;
  elsif held.last is distinct from p_known then
    outcome := 'moved';
    return;
  end if;

  -- Looked at before anything is written, so that leaving is enough.
  for i in 1 .. cardinality(p_topics) loop
    perform from {schema}.log_head h where h.topic = p_topics[i] and h.partition = p_partitions[i] for no key update;
    if not found then
      outcome := 'missing';
      ends := array[i];
      return;
    end if;
  end loop;

  for i in 1 .. cardinality(p_topics) loop
    update {schema}.log_head h
      set next_offset = h.next_offset + p_records[i],
          last_ms = greatest(h.last_ms, floor(extract(epoch from clock_timestamp()) * 1000)),
          bytes = h.bytes + p_bytes[i]
      where h.topic = p_topics[i] and h.partition = p_partitions[i]
      returning h.next_offset, h.last_ms into next_one, at_ms;
    insert into {schema}.log_batch (topic, partition, base_offset, records, appended_ms, body)
      values (p_topics[i], p_partitions[i], next_one - p_records[i], p_records[i], at_ms, substring(p_bodies from start for p_bytes[i]));
    start := start + p_bytes[i];
    ends[i] := next_one;
  end loop;

  if p_last is not null then
    update {schema}.log_stream s set last = p_last where s.source = p_source and s.stream = p_stream;
    last := p_last;
  end if;
  outcome := 'appended';
end $$;

-- Batches from the given offsets on, at most p_max_bytes of them, but one of one partition in any case. A partition with news gets its share of
-- what is left, and its first batch if that fits at all; what it does not use goes to those after it. A partition asked for outside of what
-- it holds is answered without a body, one that does not exist with nulls, one without news not at all.
create function {schema}.log_fetch(p_topics int[], p_partitions int[], p_offsets bigint[], p_max_bytes bigint)
returns table (place int, start_offset bigint, end_offset bigint, base_offset bigint, records int, appended_ms bigint, body bytea)
language plpgsql stable as $$
declare
  total bigint := 0;
  used bigint;
  share bigint;
  size bigint;
  news record;
  batch record;
begin
  for news in
    select a.place::int as place, a.topic, a.partition, a.asked, h.start_offset, h.next_offset, count(*) over () as waiting,
           row_number() over (order by a.place) as served
    from unnest(p_topics, p_partitions, p_offsets) with ordinality a(topic, partition, asked, place)
    left join {schema}.log_head h on h.topic = a.topic and h.partition = a.partition
    where h.next_offset is distinct from a.asked
    order by a.place
  loop
    place := news.place;
    start_offset := news.start_offset;
    end_offset := news.next_offset;
    if news.next_offset is null or news.asked < news.start_offset or news.asked > news.next_offset then
      base_offset := null; records := null; appended_ms := null; body := null;
      return next;
      continue;
    end if;
    used := 0;
    share := (p_max_bytes - total) / (news.waiting - news.served + 1);
    for batch in
      select b.base_offset, b.records, b.appended_ms, b.body from {schema}.log_batch b
      where b.topic = news.topic and b.partition = news.partition
        and b.base_offset >= (select f.base_offset from {schema}.log_batch f
          where f.topic = news.topic and f.partition = news.partition and f.base_offset <= news.asked order by f.base_offset desc limit 1)
      order by b.base_offset
    loop
      size := octet_length(batch.body);
      exit when total > 0 and used + size > share and (used > 0 or total + size > p_max_bytes);
      used := used + size;
      total := total + size;
      base_offset := batch.base_offset; records := batch.records; appended_ms := batch.appended_ms; body := batch.body;
      return next;
      exit when used >= share;
    end loop;
  end loop;
end $$;

-- Those of the given partitions that reach past the given offsets, or are gone. Cheap: it reads heads only.
create function {schema}.log_news(p_topics int[], p_partitions int[], p_offsets bigint[])
returns table (place int, end_offset bigint)
language plpgsql stable as $$
begin
  return query
    select a.place::int, h.next_offset
    from unnest(p_topics, p_partitions, p_offsets) with ordinality a(topic, partition, asked, place)
    left join {schema}.log_head h on h.topic = a.topic and h.partition = a.partition
    where h.next_offset is null or h.next_offset > a.asked;
end $$;

-- Removes at most p_limit batches of one partition from its front: those past the topic's retention, by time or by bytes. Returns how many.
create function {schema}.log_trim(p_topic int, p_partition int, p_limit int) returns int
language plpgsql as $$
declare
  rule record;
  head record;
  oldest_ms bigint;
  surplus bigint;
  last_one bigint;
  gone int := 0;
  freed bigint := 0;
  batch record;
begin
  select t.retention_ms, t.retention_bytes into rule from {schema}.log_topic t where t.key = p_topic;
  select h.bytes, h.next_offset into head from {schema}.log_head h where h.topic = p_topic and h.partition = p_partition;
  oldest_ms := floor(extract(epoch from clock_timestamp()) * 1000) - rule.retention_ms;
  surplus := head.bytes - rule.retention_bytes;
  for batch in
    select b.base_offset, b.records, b.appended_ms, octet_length(b.body) as size from {schema}.log_batch b
    where b.topic = p_topic and b.partition = p_partition order by b.base_offset limit p_limit
  loop
    exit when not coalesce(batch.appended_ms < oldest_ms, false) and not coalesce(freed < surplus, false);
    last_one := batch.base_offset + batch.records;
    gone := gone + 1;
    freed := freed + batch.size;
  end loop;
  if gone = 0 then
    return 0;
  end if;
  delete from {schema}.log_batch b where b.topic = p_topic and b.partition = p_partition and b.base_offset < last_one;
  -- Last, because appends wait for this row.
  update {schema}.log_head h set start_offset = last_one, bytes = h.bytes - freed where h.topic = p_topic and h.partition = p_partition;
  return gone;
end $$;

-- A number of the batch format: seven bits a byte, the lowest first.
create function {schema}.log_varint(p_body bytea, p_at int, out value int, out after int)
language plpgsql immutable strict as $$
declare
  shift int := 0;
  byte int;
begin
  value := 0;
  after := p_at;
  loop
    byte := get_byte(p_body, after);
    after := after + 1;
    value := value | ((byte & 127) << shift);
    exit when byte < 128;
    shift := shift + 7;
  end loop;
end $$;

-- Bytes as text: as they are where they are UTF-8 without zeros, else escaped.
create function {schema}.log_text(p_bytes bytea) returns text
language plpgsql immutable strict as $$
begin
  return convert_from(p_bytes, 'UTF8');
exception when others then
  return encode(p_bytes, 'escape');
end $$;

-- The records of one batch, decoded.
create function {schema}.log_decode(p_base bigint, p_records int, p_body bytea)
returns table ("offset" bigint, key bytea, value bytea, headers jsonb)
language plpgsql immutable as $$
declare
  at int := 1;
  n record;
  count int;
  names text[] := '{}';
  name int;
begin
  if get_byte(p_body, 0) <> 1 then
    raise exception 'batch format %, expected 1', get_byte(p_body, 0);
  end if;
  select * into n from {schema}.log_varint(p_body, at);
  at := n.after;
  for i in 1 .. n.value loop
    select * into n from {schema}.log_varint(p_body, at);
    names := names || {schema}.log_text(substring(p_body from n.after + 1 for n.value));
    at := n.after + n.value;
  end loop;
  for i in 0 .. p_records - 1 loop
    "offset" := p_base + i;
    select * into n from {schema}.log_varint(p_body, at);
    key := case when n.value > 0 then substring(p_body from n.after + 1 for n.value - 1) end;
    at := n.after + greatest(n.value - 1, 0);
    select * into n from {schema}.log_varint(p_body, at);
    value := case when n.value > 0 then substring(p_body from n.after + 1 for n.value - 1) end;
    at := n.after + greatest(n.value - 1, 0);
    select * into n from {schema}.log_varint(p_body, at);
    at := n.after;
    count := n.value;
    headers := '[]';
    for j in 1 .. count loop
      select * into n from {schema}.log_varint(p_body, at);
      name := n.value;
      select * into n from {schema}.log_varint(p_body, n.after);
      headers := headers || jsonb_build_array(jsonb_build_array(names[name + 1],
        case when n.value > 0 then {schema}.log_text(substring(p_body from n.after + 1 for (n.value - 1) / 2)) end));
      at := n.after + greatest(n.value - 1, 0) / 2;
    end loop;
    return next;
  end loop;
end $$;

-- For looking inside: the records of a partition from an offset on.
--   select "offset", at, key_text, value_text, headers from log_records('outbox.event.order', 0, 0) limit 20
create function {schema}.log_records(p_topic text, p_partition int, p_from bigint default 0)
returns table ("offset" bigint, at timestamptz, key_text text, value_text text, headers jsonb, key bytea, value bytea)
language sql stable as $$
  select d."offset", to_timestamp(b.appended_ms / 1000.0), {schema}.log_text(d.key), {schema}.log_text(d.value), d.headers, d.key, d.value
  from {schema}.log_topic t
  join {schema}.log_batch b on b.topic = t.key and b.partition = p_partition and b.base_offset + b.records > p_from
  cross join lateral {schema}.log_decode(b.base_offset, b.records, b.body) d
  where t.name = p_topic and d."offset" >= p_from
  order by b.base_offset, d."offset"
$$;

-- How full each partition is, and how far each group says it has come.
create view {schema}.log_partitions as
  select t.name as topic, h.partition, h.start_offset, h.next_offset, h.bytes, to_timestamp(nullif(h.last_ms, 0) / 1000.0) as last_append,
         (select coalesce(jsonb_object_agg(o."group", o.next_offset), '{}') from {schema}.log_group_offset o
           where o.topic = h.topic and o.partition = h.partition) as groups
  from {schema}.log_topic t join {schema}.log_head h on h.topic = t.key;
`,
    },
  ],
}
