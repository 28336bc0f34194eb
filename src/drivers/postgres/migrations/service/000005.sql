-- When things fail: keys that are tried again, bounds on what waits, crashes that are blamed on a message, and dead letters one can work with.

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
  -- Of the hold that `held_by` names: since when, and why.
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

-- Which keys each raise of a lane's `holds` was for, so that a batch under way need not be run again where none of them is its own. Kept for some minutes.
create table {schema}.consumer_hold (
  group_name text collate "C" not null,
  topic_id text collate "C" not null,
  partition int not null,
  lane int not null,
  -- Of the lane's row, and its `holds` from then on.
  epoch bigint not null,
  hold bigint not null,
  keys bytea[] not null,
  -- Of the keys, in their order; see keyHash in src/consumer/partition/lane-of.ts.
  hashes int[] not null,
  at timestamptz not null default now(),
  primary key (group_name, topic_id, partition, lane, epoch, hold)
);

-- The keys held in a lane since its owner knew of `known`, up to `now_at`. Fails where they are not known, or where one of them may be among those that ran.
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
