-- Where the broker keeps leader epochs (Kafka): that of the record before next_offset, which tells a log that lost its end and grew again from the one
-- that was read. It counts only while leader_epoch_at is next_offset: whoever sets next_offset by hand, or runs an older version, need not know of it.
alter table {schema}.consumer_position add column leader_epoch int, add column leader_epoch_at bigint;
