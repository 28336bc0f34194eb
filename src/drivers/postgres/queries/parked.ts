import type { PartitionRef } from '../../../consumer/port.ts'
import type { LogRecord } from '../../../message/port.ts'
import type { Statement } from '../statement-run.ts'
import { headersToJson, storableText } from './record-columns.ts'

/** Statements of a lane's owner on `parked_key` and `parked_msg`. `schema` is the quoted name everywhere. */

export function parkedKeys(schema: string, partition: PartitionRef): Statement {
  return {
    text: `select key from ${schema}.parked_key where group_name = $1 and topic_id = $2 and partition = $3`,
    params: [partition.group, partition.topicId, partition.partition],
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

export function appendParked(schema: string, partition: PartitionRef, records: readonly LogRecord[], dead: boolean): Statement {
  return {
    text: `insert into ${schema}.parked_msg (group_name, topic, topic_id, partition, key, log_offset, log_time, value, headers, dead)
select $1, $2, $3, $4, m.key, m.log_offset, to_timestamp(m.log_time / 1000.0), m.value, m.headers, $10
from unnest($5::bytea[], $6::bigint[], $7::bigint[], $8::bytea[], $9::json[]) as m(key, log_offset, log_time, value, headers)`,
    params: [
      partition.group,
      partition.topic,
      partition.topicId,
      partition.partition,
      records.map(({ key }) => key),
      records.map(({ offset }) => offset),
      records.map(({ timestamp }) => timestamp),
      records.map(({ value }) => value),
      records.map(({ headers }) => headersToJson(headers)),
      dead,
    ],
  }
}

/** The key cannot be there: the position's `holds` was compared under its lock. */
export function parkKey(schema: string, partition: PartitionRef, key: Buffer, reason: string): Statement {
  return {
    text: `insert into ${schema}.parked_key (group_name, topic_id, partition, key, reason) values ($1, $2, $3, $4, $5)`,
    params: [partition.group, partition.topicId, partition.partition, key, storableText(reason)],
  }
}
