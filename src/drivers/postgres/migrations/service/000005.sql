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
  add column parked_at timestamptz not null default now();
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
