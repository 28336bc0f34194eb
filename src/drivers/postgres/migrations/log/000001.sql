-- The broker's log: topics, their partitions' heads, senders, batches of records, and the groups that read them.

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

-- Appends the batches of one page, all or none, durably. Partitions come sorted by (topic, partition); `bytes` are the batches' lengths in
-- `bodies`, one after the other. Outcomes: `appended` with the offset after each batch; `fenced`; `moved` when the stream's last coordinate is not
-- `known`, because an earlier reply was lost; `missing` with the place of a batch whose partition does not exist.
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
