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
