-- Publishing one message, the most common case, as a function: its plans are kept for the life of the connection, whereas a statement that a
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
