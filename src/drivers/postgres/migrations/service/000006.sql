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
  outcome text not null check (outcome in ('done', 'refused', 'failed')),
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
