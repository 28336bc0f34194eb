import { parkedBytes, parkedKeyOf } from '../../../consumer/parked/parked-key.ts'
import type { FailedAttempt, ParkedBounds, PartitionRef } from '../../../consumer/port.ts'
import type { LogRecord } from '../../../message/port.ts'
import type { Statement } from '../statement-run.ts'
import { attemptsToJson, headersToJson, storableText } from './record-columns.ts'

/** Statements of a lane's owner on `parked_key` and `parked_msg`. `schema` is the quoted name everywhere. */

export function parkedKeys(schema: string, partition: PartitionRef): Statement {
  return {
    text: `select key from ${schema}.parked_key where group_name = $1 and topic_id = $2 and partition = $3`,
    params: [partition.group, partition.topicId, partition.partition],
  }
}

/** Those of some keys that wait no more. */
export function releasedKeys(schema: string, partition: PartitionRef, keys: readonly Buffer[]): Statement {
  return {
    text: `select w.key from unnest($4::bytea[]) as w(key) where not exists (select from ${schema}.parked_key k
  where k.group_name = $1 and k.topic_id = $2 and k.partition = $3 and k.key_hash = sha256(w.key))`,
    params: [partition.group, partition.topicId, partition.partition, keys],
  }
}

/** Locks the keys' rows in their order. Fails when one of them is gone: it was released, and its messages must run. */
export function lockKeys(schema: string, partition: PartitionRef, keys: readonly Buffer[]): Statement {
  return {
    text: `with locked as (select from ${schema}.parked_key
  where group_name = $1 and topic_id = $2 and partition = $3 and key_hash in (select sha256(k) from unnest($4::bytea[]) k) order by key_hash for update)
select ${schema}.consumer_require(count(*) = $5, 'released') from locked`,
    params: [partition.group, partition.topicId, partition.partition, keys, keys.length],
  }
}

/** Queues messages behind keys that are locked, or were made in this transaction. What is there already stays: a position may have been set back. */
export function appendParked(schema: string, partition: PartitionRef, records: readonly LogRecord[]): Statement {
  return {
    text: `with added as (${insertMessages(schema)} on conflict do nothing returning key_hash, bytes),
sums as (select key_hash, count(*) as messages, sum(bytes) as bytes from added group by 1)
update ${schema}.parked_key k set messages = k.messages + s.messages, bytes = k.bytes + s.bytes from sums s
where k.group_name = $1 and k.topic_id = $3 and k.partition = $4 and k.key_hash = s.key_hash`,
    params: messageParams(partition, records, false),
  }
}

/** The first messages of keys that `parkKeys` has made. `dead`: they block them. */
export function insertHeads(schema: string, partition: PartitionRef, records: readonly LogRecord[], dead: boolean): Statement {
  return { text: `${insertMessages(schema)} on conflict do nothing`, params: messageParams(partition, records, dead) }
}

function insertMessages(schema: string): string {
  return `insert into ${schema}.parked_msg (group_name, topic, topic_id, partition, key, keyless, log_offset, log_time, value, headers, bytes, dead)
select $1, $2, $3, $4, m.key, m.keyless, m.log_offset, to_timestamp(m.log_time / 1000.0), m.value, m.headers, m.bytes, $12
from unnest($5::bytea[], $6::bool[], $7::bigint[], $8::bigint[], $9::bytea[], $10::json[], $11::int[])
  as m(key, keyless, log_offset, log_time, value, headers, bytes)`
}

function messageParams(partition: PartitionRef, records: readonly LogRecord[], dead: boolean): readonly unknown[] {
  const keys = records.map(parkedKeyOf)
  return [
    partition.group,
    partition.topic,
    partition.topicId,
    partition.partition,
    keys.map(({ key }) => key),
    keys.map(({ keyless }) => keyless),
    records.map(({ offset }) => offset),
    records.map(({ timestamp }) => timestamp),
    records.map(({ value }) => value),
    records.map(({ headers }) => headersToJson(headers)),
    records.map(parkedBytes),
    dead,
  ]
}

/** A key that waits from now on, with its first message. */
export interface NewKey {
  readonly record: LogRecord
  readonly reason: string
  readonly attempts: readonly FailedAttempt[]
  /** `null`: until somebody ends its dead head. */
  readonly afterMs: number | null
}

/** The keys cannot be there: that nobody has held them was seen under the position's lock. */
export function parkKeys(schema: string, partition: PartitionRef, keys: readonly NewKey[]): Statement {
  return {
    text: `insert into ${schema}.parked_key (group_name, topic, topic_id, partition, key, reason, attempts, failures, next_attempt_at, messages, bytes)
select $1, $2, $3, $4, k.key, k.reason, k.attempts, k.failures,
  coalesce(clock_timestamp() + k.after_ms * interval '1 millisecond', 'infinity'), 1, k.bytes
from unnest($5::bytea[], $6::text[], $7::int[], $8::json[], $9::float8[], $10::bigint[]) as k(key, reason, attempts, failures, after_ms, bytes)`,
    params: [
      partition.group,
      partition.topic,
      partition.topicId,
      partition.partition,
      keys.map(({ record }) => parkedKeyOf(record).key),
      keys.map(({ reason }) => storableText(reason)),
      keys.map(({ attempts }) => attempts.length),
      keys.map(({ attempts }) => attemptsToJson(attempts)),
      keys.map(({ afterMs }) => afterMs),
      keys.map(({ record }) => parkedBytes(record)),
    ],
  }
}

/** Fails when more waits behind one of the keys that messages were added to than may. */
export function requireRoomOfKeys(
  schema: string,
  partition: PartitionRef,
  queued: readonly Buffer[],
  { bytesPerKey }: ParkedBounds,
): Statement {
  return {
    text: `select ${schema}.consumer_require(not exists (select from ${schema}.parked_key
  where group_name = $1 and topic_id = $2 and partition = $3 and key_hash in (select sha256(k) from unnest($4::bytea[]) k) and bytes > $5), 'full')`,
    params: [partition.group, partition.topicId, partition.partition, queued, bytesPerKey],
  }
}

/** Fails when more waits in the partition than may, and returns how much. Reads all of its keys. */
export function requireRoom(schema: string, partition: PartitionRef, { bytesPerPartition }: ParkedBounds): Statement {
  return {
    text: `select coalesce(sum(bytes), 0) as waiting, ${schema}.consumer_require(coalesce(sum(bytes), 0) <= $4 or sum(messages) <= 1, 'full')
from ${schema}.parked_key where group_name = $1 and topic_id = $2 and partition = $3`,
    params: [partition.group, partition.topicId, partition.partition, bytesPerPartition],
  }
}
