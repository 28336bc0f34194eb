import type { GroupKey, HeldKey, HoldChange } from '../../../consumer/hold/port.ts'
import type { Row } from '../../../message/transaction.ts'
import type { Statement } from '../statement-run.ts'
import { storableText } from './record-columns.ts'

/** The statements of an operator's hold of a key, in the order of their locks: positions, keys. `schema` is the quoted name everywhere. */

export interface PartitionLanes {
  readonly topicId: string
  readonly partition: number
  readonly lanes: number
}

/** A lane that a key belongs to, as long as its partition has so many. */
export interface KeyLane extends PartitionLanes {
  readonly lane: number
}

/** Where the group has positions in the topic. Takes no lock. */
export function findPartitions(schema: string, { group, topic }: GroupKey): Statement {
  return {
    text: `select p.topic_id, p.partition, max(p.lanes) as lanes from ${schema}.consumer_position p
where p.group_name = $1 and p.topic = $2 group by 1, 2 order by 1, 2`,
    params: [group, topic],
  }
}

/** As `holdLanes`, in several partitions. */
export function holdKeyLanes(schema: string, group: string, lanes: readonly KeyLane[]): Statement {
  return {
    text: `with locked as (select p.topic_id, p.partition, p.lane from ${schema}.consumer_position p
  join unnest($2::text[], $3::int[], $4::int[], $5::int[]) as l(topic_id, partition, lane, lanes)
    on p.topic_id = l.topic_id and p.partition = l.partition and p.lane = l.lane and p.lanes = l.lanes
  where p.group_name = $1 order by p.topic_id, p.partition, p.lane for update of p)
update ${schema}.consumer_position p set holds = holds + 1 from locked l
where p.group_name = $1 and p.topic_id = l.topic_id and p.partition = l.partition and p.lane = l.lane
returning p.topic_id, p.partition, p.lane, p.epoch, p.holds`,
    params: [
      group,
      lanes.map(({ topicId }) => topicId),
      lanes.map(({ partition }) => partition),
      lanes.map(({ lane }) => lane),
      lanes.map((one) => one.lanes),
    ],
  }
}

/** Makes or locks the key's rows. Whoever has a lease of one loses it, so that what he runs does not commit. A hold that is there stays. */
export function holdKey(
  schema: string,
  { group, topic, key }: GroupKey,
  partitions: readonly PartitionLanes[],
  { by, reason }: HoldChange,
): Statement {
  return {
    text: `insert into ${schema}.parked_key as k (group_name, topic_id, partition, key, topic, reason, held_by, held_at, held_reason)
select $1, u.topic_id, u.partition, $4, $5, 'held', $6, now(), $7 from unnest($2::text[], $3::int[]) as u(topic_id, partition) order by u.topic_id, u.partition
on conflict (group_name, topic_id, partition, key_hash) do update set lease = null, lease_until = null, held_by = coalesce(k.held_by, excluded.held_by),
  held_at = case when k.held_by is null then now() else k.held_at end, held_reason = case when k.held_by is null then excluded.held_reason else k.held_reason end`,
    params: [
      group,
      partitions.map(({ topicId }) => topicId),
      partitions.map(({ partition }) => partition),
      key,
      topic,
      storableText(by),
      reason === null ? null : storableText(reason),
    ],
  }
}

const ofKey = 'k.group_name = $1 and k.topic = $2 and k.key_hash = sha256($3::bytea)'
const keyParams = ({ group, topic, key }: GroupKey): readonly unknown[] => [group, topic, key]

/** Locks the rows of a key that are held, in the order of a hold. */
export function lockHeldKey(schema: string, key: GroupKey): Statement {
  return {
    text: `select k.topic_id, k.partition from ${schema}.parked_key k where ${ofKey} and k.held_by is not null order by k.topic_id, k.partition for update`,
    params: keyParams(key),
  }
}

/** In a statement after the lock. A dead head goes on waiting for somebody to decide. */
export function endHold(schema: string, key: GroupKey): Statement {
  return {
    text: `update ${schema}.parked_key k set held_by = null, held_at = null, held_reason = null,
  next_attempt_at = case when (select m.dead from ${schema}.parked_msg m where m.group_name = k.group_name and m.topic_id = k.topic_id
    and m.partition = k.partition and m.key_hash = k.key_hash order by m.log_offset limit 1) then 'infinity' else clock_timestamp() end
where ${ofKey} and k.held_by is not null`,
    params: keyParams(key),
  }
}

/** Rows of a key, with these places, that nothing waits behind; in a statement after the lock. */
export function dropEmpty(schema: string, key: GroupKey, places: readonly Omit<PartitionLanes, 'lanes'>[]): Statement {
  return {
    text: `delete from ${schema}.parked_key k using unnest($4::text[], $5::int[]) as u(topic_id, partition)
where ${ofKey} and k.topic_id = u.topic_id and k.partition = u.partition and k.held_by is null and not exists (select from ${schema}.parked_msg m
  where m.group_name = k.group_name and m.topic_id = k.topic_id and m.partition = k.partition and m.key_hash = k.key_hash)`,
    params: [...keyParams(key), places.map(({ topicId }) => topicId), places.map(({ partition }) => partition)],
  }
}

/** `group` or `key` `null`: all. Reads every key that waits. */
export function heldKeys(schema: string, group: string | null, key: GroupKey | null): Statement {
  return {
    text: `select k.group_name, k.topic, k.key, array_agg(distinct k.partition order by k.partition) as partitions, sum(k.messages) as messages,
  min(k.held_at) as since, (array_agg(k.held_by order by k.held_at))[1] as by, (array_agg(k.held_reason order by k.held_at))[1] as reason
from ${schema}.parked_key k where k.held_by is not null and ($1::text is null or k.group_name = $1)
  and ($2::text is null or k.topic = $2 and k.key_hash = sha256($3::bytea))
group by k.group_name, k.topic, k.key order by since, k.group_name, k.topic, k.key`,
    params: [key?.group ?? group, key?.topic ?? null, key?.key ?? null],
  }
}

/** A row of `heldKeys`. */
export function heldKeyOf(row: Row): HeldKey {
  return {
    group: String(row['group_name']),
    topic: String(row['topic']),
    key: row['key'] as Buffer,
    partitions: row['partitions'] as readonly number[],
    by: String(row['by']),
    since: row['since'] as Date,
    reason: row['reason'] as string | null,
    messages: Number(row['messages']),
  }
}
