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
