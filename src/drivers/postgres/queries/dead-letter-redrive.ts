import type { Statement } from '../statement-run.ts'
import { holdHash } from './position.ts'

/** The statements of a redrive and of a discard, in the order of their locks: position, key, letter. `schema` is the quoted name everywhere. */

export interface LetterPartition {
  readonly group: string
  readonly topic: string
  readonly topicId: string
  readonly partition: number
}

/** The key that a letter stands in. One without has a made-up key, which no other message has. */
export interface LetterKey extends LetterPartition {
  readonly key: Buffer
  readonly keyless: boolean
}

/** Rows of the key, in a table of this name; parameters 1 to 4. */
const ofKey = (name: string): string =>
  `${name}.group_name = $1 and ${name}.topic_id = $2 and ${name}.partition = $3 and ${name}.key_hash = sha256($4::bytea)`
const keyParams = ({ group, topicId, partition, key }: LetterKey): readonly unknown[] => [group, topicId, partition, key]

/** Where letters stand, and how many lanes their partition has now (`null`: the group has no position there). Takes no lock. */
export function findLetters(schema: string, ids: readonly number[]): Statement {
  return {
    text: `select d.id, d.group_name, d.topic, d.topic_id, d.partition, d.log_offset, d.key, (select max(p.lanes) from ${schema}.consumer_position p
    where p.group_name = d.group_name and p.topic_id = d.topic_id and p.partition = d.partition) as lanes
from ${schema}.dead_letter d where d.id = any($1::bigint[]) order by d.log_offset`,
    params: [ids],
  }
}

/**
 * Locks the lanes' positions to the end of the transaction and raises `holds`, so that no batch commits that has run one of the keys. A row less than was
 * asked for: the number of lanes was changed meanwhile, so the keys may be in others.
 */
export function holdLanes(
  schema: string,
  { group, topicId, partition }: LetterPartition,
  lanes: readonly number[],
  count: number,
): Statement {
  return {
    text: `with locked as (select p.lane from ${schema}.consumer_position p
  where p.group_name = $1 and p.topic_id = $2 and p.partition = $3 and p.lane = any($4::int[]) and p.lanes = $5 order by p.lane for update)
update ${schema}.consumer_position p set holds = holds + 1 from locked l
where p.group_name = $1 and p.topic_id = $2 and p.partition = $3 and p.lane = l.lane returning p.lane, p.next_offset, p.epoch, p.holds`,
    params: [group, topicId, partition, lanes, count],
  }
}

/** A raise of a lane's `holds`, and what it was for. */
export interface LaneHold {
  readonly lane: number
  readonly epoch: number
  readonly holds: number
  readonly keys: readonly Buffer[]
}

/**
 * Notes what each raise was for. One that is not noted is for any key, as far as an owner can tell. One that is there was of positions that were deleted
 * meanwhile: counts begin anew with the next ones.
 */
export function noteHolds(schema: string, { group, topicId, partition }: LetterPartition, holds: readonly LaneHold[]): Statement[] {
  return holds.map(({ lane, epoch, holds: hold, keys }) => ({
    text: `insert into ${schema}.consumer_hold (group_name, topic_id, partition, lane, epoch, hold, keys, hashes) values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (group_name, topic_id, partition, lane, epoch, hold) do update set keys = excluded.keys, hashes = excluded.hashes, at = now()`,
    params: [group, topicId, partition, lane, epoch, hold, keys, keys.map(holdHash)],
  }))
}

/** Locks the keys that are there, in their order; waits for a release that is under way. */
export function lockPresentKeys(schema: string, { group, topicId, partition }: LetterPartition, keys: readonly Buffer[]): Statement {
  return {
    text: `select from ${schema}.parked_key k where k.group_name = $1 and k.topic_id = $2 and k.partition = $3
  and k.key_hash in (select sha256(u) from unnest($4::bytea[]) u) order by k.key_hash for update`,
    params: [group, topicId, partition, keys],
  }
}

/** Makes the rows of keys that have none. Nobody else can: their lanes are locked. */
export function makeKeys(schema: string, { group, topic, topicId, partition }: LetterPartition, keys: readonly Buffer[]): Statement {
  return {
    text: `insert into ${schema}.parked_key as k (group_name, topic_id, partition, key, topic, reason)
select $1, $2, $3, u, $5, 'redriven' from unnest($4::bytea[]) u order by sha256(u)
on conflict (group_name, topic_id, partition, key_hash) do update set key = k.key`,
    params: [group, topicId, partition, keys, topic],
  }
}

export function lockKey(schema: string, key: LetterKey): Statement {
  return { text: `select from ${schema}.parked_key k where ${ofKey('k')} for update`, params: keyParams(key) }
}

/** In a statement after the key's lock, so that it shows what was decided by whoever had it. */
export function lockLetters(schema: string, ids: readonly number[]): Statement {
  return {
    text: `select d.id, d.version, d.state, d.archived_at, d.log_offset, octet_length(d.value) as bytes
from ${schema}.dead_letter d where d.id = any($1::bigint[]) order by d.id for update`,
    params: [ids],
  }
}

/** Which of these offsets wait, with their bytes as `parked_key.bytes` counts them. After the locks of their keys. */
export function queuedOffsets(schema: string, letters: readonly PlacedLetter[]): Statement {
  const { group, topicId, partition } = letters[0]!
  return {
    text: `select m.log_offset, m.bytes, m.dead from unnest($4::bytea[], $5::bigint[]) as l(key, log_offset) join ${schema}.parked_msg m
  on m.group_name = $1 and m.topic_id = $2 and m.partition = $3 and m.key_hash = sha256(l.key) and m.log_offset = l.log_offset`,
    params: [group, topicId, partition, letters.map(({ key }) => key), letters.map(({ offset }) => offset)],
  }
}

/** A letter with its place in the log. */
export interface PlacedLetter extends LetterKey {
  readonly id: number
  readonly offset: number
}

/** Puts letters back at their old offsets, as they stand after their last edit. Where one blocks its key, it is there already. */
export function requeueLetters(schema: string, letters: readonly PlacedLetter[]): Statement {
  return {
    text: `insert into ${schema}.parked_msg (group_name, topic, topic_id, partition, key, log_offset, log_time, value, headers, dead, letter_id, keyless, bytes)
select d.group_name, d.topic, d.topic_id, d.partition, l.key, d.log_offset, d.log_time, d.value, d.headers, false, d.id, l.keyless,
  octet_length(l.key) + coalesce(octet_length(d.value), 0)
from unnest($1::bigint[], $2::bytea[], $3::bool[]) as l(id, key, keyless) join ${schema}.dead_letter d on d.id = l.id
on conflict (group_name, topic_id, partition, key_hash, log_offset) do update
  set dead = false, letter_id = excluded.letter_id, value = excluded.value, headers = excluded.headers, bytes = excluded.bytes`,
    params: [letters.map(({ id }) => id), letters.map(({ key }) => key), letters.map(({ keyless }) => keyless)],
  }
}

/** Takes a dead letter out of the queue of its key. */
export function dequeueLetter(schema: string, key: LetterKey, offset: number): Statement {
  return {
    text: `delete from ${schema}.parked_msg m where ${ofKey('m')} and m.log_offset = $5 and m.dead`,
    params: [...keyParams(key), offset],
  }
}

/** How the queue of a key has changed. */
export interface QueueChange {
  readonly key: Buffer
  readonly messages: number
  readonly bytes: number
}

/** A head at one of the offsets that were `put` is a new one, and so is one behind that which was `removed`: what was noted of the former one's failures goes. */
export interface NewHead {
  readonly put?: readonly number[]
  readonly removed?: number
}

/** Brings keys' rows in line with their queues, in a statement after the changes: counts, and when they are due. */
export function settleKeys(
  schema: string,
  { group, topicId, partition }: LetterPartition,
  queues: readonly QueueChange[],
  { put = [], removed }: NewHead,
): Statement {
  const isNew = '(h.log_offset = any($7::bigint[]) or h.log_offset > $8::bigint)'
  return {
    text: `update ${schema}.parked_key k set messages = k.messages + q.messages, bytes = k.bytes + q.bytes,
  attempts = case when ${isNew} then 0 else k.attempts end,
  failures = case when ${isNew} then '[]' else k.failures end,
  crashes = case when ${isNew} then 0 else k.crashes end,
  next_attempt_at = case when h.dead then 'infinity' when ${isNew} then now() else k.next_attempt_at end
from unnest($4::bytea[], $5::bigint[], $6::bigint[]) as q(key, messages, bytes) left join lateral (select m.log_offset, m.dead from ${schema}.parked_msg m
  where m.group_name = $1 and m.topic_id = $2 and m.partition = $3 and m.key_hash = sha256(q.key) order by m.log_offset limit 1) h on true
where k.group_name = $1 and k.topic_id = $2 and k.partition = $3 and k.key_hash = sha256(q.key)`,
    params: [
      group,
      topicId,
      partition,
      queues.map(({ key }) => key),
      queues.map(({ messages }) => messages),
      queues.map(({ bytes }) => bytes),
      put,
      removed ?? null,
    ],
  }
}

/** In a statement after the deletion, and only where nobody holds the key by name. */
export function releaseKeyIfEmpty(schema: string, key: LetterKey): Statement {
  return {
    text: `delete from ${schema}.parked_key k where ${ofKey('k')} and k.held_by is null
  and not exists (select from ${schema}.parked_msg m where ${ofKey('m')})`,
    params: keyParams(key),
  }
}

export function markRedriven(schema: string, ids: readonly number[]): Statement {
  return {
    text: `update ${schema}.dead_letter d set state = 'redriven', redrives = d.redrives + 1, version = d.version + 1,
  ended_at = null, ended_by = null, end_reason = null where d.id = any($1::bigint[])`,
    params: [ids],
  }
}
