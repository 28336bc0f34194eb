import { firstSize } from '../../../consumer/partition/batch-size.ts'
import { keyHash } from '../../../consumer/partition/lane-of.ts'
import type {
  AdvanceTarget,
  BatchEnd,
  FirstPositions,
  LanePosition,
  LaneRef,
  LogPlace,
  PartitionRef,
  TopicRef,
} from '../../../consumer/port.ts'
import type { HighWater } from '../../../inbox/high-water.ts'
import type { Row } from '../../../message/transaction.ts'
import type { Statement } from '../statement-run.ts'

/** Statements on `consumer_position`. `schema` is the quoted name everywhere. */

const leaderEpoch = 'case when p.leader_epoch_at = p.next_offset then p.leader_epoch end as leader_epoch'
const suspects = 'case when p.taken then p.in_flight else 0 end as suspects'
const columns = `p.lane, p.lanes, p.next_offset, ${leaderEpoch}, p.epoch, p.holds, p.high_water, p.ctid::text as at`
const ofPartition = 'p.group_name = $1 and p.topic_id = $2 and p.partition = $3'
const partitionParams = (p: PartitionRef): readonly unknown[] => [p.group, p.topicId, p.partition]

/** A row of `columns`. */
export function lanePosition(row: Row): LanePosition {
  return {
    lane: Number(row['lane']),
    lanes: Number(row['lanes']),
    nextOffset: Number(row['next_offset']),
    leaderEpoch: row['leader_epoch'] === null ? null : Number(row['leader_epoch']),
    epoch: Number(row['epoch']),
    holds: Number(row['holds']),
    highWater: JSON.parse(String(row['high_water'])) as HighWater,
    suspects: Number(row['suspects'] ?? 0),
    at: String(row['at']),
  }
}

export function positionsOfGroup(schema: string, group: string): Statement {
  return {
    text: `select topic, topic_id, partition, min(next_offset) as next_offset from ${schema}.consumer_position where group_name = $1 group by 1, 2, 3`,
    params: [group],
  }
}

/** One process at a time makes the first positions of a topic. */
export function lockFirstPositions(topic: TopicRef): Statement {
  return {
    text: `select pg_advisory_xact_lock(hashtextextended($1, 0))`,
    params: [`tidemark positions ${topic.group} ${topic.topicId}`],
  }
}

/** In a statement after the lock, so that it sees what the former holder made. */
export function makePositions(schema: string, { topic, lanes, first, later }: FirstPositions): Statement {
  return {
    text: `insert into ${schema}.consumer_position (group_name, topic, topic_id, partition, lane, lanes, next_offset)
select $1, $2, $3, s.partition - 1, lane, $4::int, case when seen.yes then s.later else s.first end
from (select exists (select from ${schema}.consumer_position p where p.group_name = $1 and p.topic_id = $3) as yes) seen,
  unnest($5::bigint[], $6::bigint[]) with ordinality as s(first, later, partition), generate_series(0, $4::int - 1) as lane
where not exists (select from ${schema}.consumer_position p where p.group_name = $1 and p.topic_id = $3 and p.partition = s.partition - 1)`,
    params: [topic.group, topic.topic, topic.topicId, lanes, first, later],
  }
}

export function lockLanes(schema: string, partition: PartitionRef): Statement {
  return {
    text: `select ${columns}, ${suspects} from ${schema}.consumer_position p where ${ofPartition} order by p.lane for update`,
    params: partitionParams(partition),
  }
}

/** After `lockLanes`, whose order keeps two of them, and a redrive, from waiting for each other. What is suspected stays so until it is done. */
export function raiseEpochs(schema: string, partition: PartitionRef, inFlight: number): Statement {
  return {
    text: `update ${schema}.consumer_position p set epoch = p.epoch + 1, taken = true,
  in_flight = greatest(case when p.taken then p.in_flight else 0 end, $4) where ${ofPartition} returning ${columns}`,
    params: [...partitionParams(partition), inFlight],
  }
}

/** Notes that a message is about to run. */
export function markMessage(schema: string, lane: LaneRef, from: LanePosition, offset: number): Statement {
  return {
    text: `update ${schema}.consumer_position p set marked_offset = $8, marks = case when p.marked_offset = $8 then p.marks + 1 else 1 end
where ${ofPartition} and p.lane = $4 and p.epoch = $5 and p.next_offset = $6 and p.holds = $7 returning p.marks, p.ctid::text as at`,
    params: [...partitionParams(lane), lane.lane, from.epoch, from.nextOffset, from.holds, offset],
  }
}

/** It was run, and whoever ran it lives. */
export function unmarkMessage(schema: string, lane: LaneRef, { epoch }: LanePosition, offset: number): Statement {
  return {
    text: `update ${schema}.consumer_position p set marks = p.marks - 1
where ${ofPartition} and p.lane = $4 and p.epoch = $5 and p.marked_offset = $6 and p.marks > 0`,
    params: [...partitionParams(lane), lane.lane, epoch, offset],
  }
}

/** Nobody needs to suspect the messages of these lanes. */
export function giveBackLanes(schema: string, partition: PartitionRef, lanes: readonly Pick<LanePosition, 'lane' | 'epoch'>[]): Statement {
  return {
    text: `update ${schema}.consumer_position p set taken = false
from unnest($4::int[], $5::bigint[]) as l(lane, epoch) where ${ofPartition} and p.lane = l.lane and p.epoch = l.epoch`,
    params: [...partitionParams(partition), lanes.map(({ lane }) => lane), lanes.map(({ epoch }) => epoch)],
  }
}

export function readLane(schema: string, lane: LaneRef): Statement {
  return {
    text: `select ${columns} from ${schema}.consumer_position p where ${ofPartition} and p.lane = $4`,
    params: [...partitionParams(lane), lane.lane],
  }
}

export function advanceLanes(schema: string, partition: PartitionRef, targets: readonly AdvanceTarget[]): Statement {
  return {
    text: `with locked as (
  select p.lane, t.offset_to, t.leader_epoch from ${schema}.consumer_position p
  join unnest($4::int[], $5::bigint[], $6::bigint[], $7::int[]) as t(lane, epoch, offset_to, leader_epoch) using (lane)
  where ${ofPartition} and p.epoch = t.epoch and p.next_offset < t.offset_to order by p.lane for update of p)
update ${schema}.consumer_position p set next_offset = l.offset_to, leader_epoch = l.leader_epoch, leader_epoch_at = l.offset_to
from locked l where ${ofPartition} and p.lane = l.lane returning ${columns}`,
    params: [
      ...partitionParams(partition),
      targets.map(({ lane }) => lane),
      targets.map(({ epoch }) => epoch),
      targets.map(({ offset }) => offset),
      targets.map(({ leaderEpoch }) => leaderEpoch),
    ],
  }
}

/**
 * The fence of every batch. Looks for the row where its predecessor left it, and by its key if it is not there: under a snapshot that keeps old
 * versions alive the way from the index through them grows with every batch. Fails unless exactly this row was moved. Where `holds` has risen, which keys
 * that was for is asked once the row is locked, by a function that has a snapshot of its own; it fails where one of them ran.
 */
export function compareAndSet(
  schema: string,
  lane: LaneRef,
  end: Pick<BatchEnd, 'position' | 'ran' | 'nextOffset' | 'leaderEpoch' | 'highWater' | 'inFlight'>,
): Statement {
  const { position: from, ran, nextOffset, leaderEpoch, highWater, inFlight } = end
  const set = `set next_offset = $8, high_water = $9, leader_epoch = $11, leader_epoch_at = $8, in_flight = $12`
  const same = `${ofPartition} and p.lane = $4 and p.epoch = $5 and p.next_offset = $6 and p.holds >= $7`
  return {
    text: `with there as (update ${schema}.consumer_position p ${set} where p.ctid = $10::tid and ${same} returning p.ctid, p.holds),
elsewhere as (update ${schema}.consumer_position p ${set} where not exists (select from there) and ${same} returning p.ctid, p.holds),
moved as (select ctid, holds from there union all select ctid, holds from elsewhere)
select (select ctid::text from moved) as at, (select holds from moved) as holds, ${schema}.consumer_require(exists (select from moved), 'moved'),
  case when (select holds from moved) > $7 then ${schema}.consumer_held_since($1, $2, $3, $4, $5, $7, (select holds from moved), $13::int[]) end as held`,
    params: [
      ...partitionParams(lane),
      lane.lane,
      from.epoch,
      from.nextOffset,
      from.holds,
      nextOffset,
      JSON.stringify(highWater),
      from.at ?? '(0,0)',
      leaderEpoch,
      inFlight,
      ran.map(holdHash),
    ],
  }
}

/** How a key is told from others where held keys are compared with those of a batch. Two that have the same cost a run, and nothing else. */
export function holdHash(key: Uint8Array): number {
  return keyHash(key) | 0
}

/** Raises of `holds` since it was known, with their keys. After the row was read, in a later statement. */
export function holdsSince(schema: string, lane: LaneRef, { epoch, holds }: LanePosition): Statement {
  return {
    text: `select h.hold, h.keys from ${schema}.consumer_hold h
where h.group_name = $1 and h.topic_id = $2 and h.partition = $3 and h.lane = $4 and h.epoch = $5 and h.hold > $6 order by h.hold limit ${mostHolds + 1}`,
    params: [...partitionParams(lane), lane.lane, epoch, holds],
  }
}

/** Whoever is further behind reads all keys instead. */
export const mostHolds = 1_000

/** What was noted of holds so long ago nobody asks for any more: no transaction of ours lives half as long. */
export function forgetHolds(schema: string): Statement {
  return { text: `delete from ${schema}.consumer_hold where at < now() - interval '10 minutes'` }
}

export function deleteLanes(schema: string, partition: PartitionRef): Statement {
  return { text: `delete from ${schema}.consumer_position p where ${ofPartition}`, params: partitionParams(partition) }
}

export function insertLanes(
  schema: string,
  partition: PartitionRef,
  count: number,
  next: { readonly at: LogPlace; readonly epoch: number; readonly highWater: HighWater },
): Statement {
  return {
    text: `insert into ${schema}.consumer_position as p
  (group_name, topic_id, partition, topic, lane, lanes, next_offset, epoch, high_water, leader_epoch, leader_epoch_at, taken, in_flight)
select $1, $2, $3, $4, lane, $5::int, $6, $7, $8, $9, $6, true, $10 from generate_series(0, $5::int - 1) as lane returning ${columns}`,
    params: [
      ...partitionParams(partition),
      partition.topic,
      count,
      next.at.offset,
      next.epoch,
      JSON.stringify(next.highWater),
      next.at.leaderEpoch,
      firstSize,
    ],
  }
}
