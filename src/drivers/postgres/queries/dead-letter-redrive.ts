import type { Statement } from '../statement-run.ts'

/** The statements of a redrive and of a discard, in the order of their locks: position, key, letter. `schema` is the quoted name everywhere. */

/** The key that letters stand in. A letter without one has a made-up key, which no other message has. */
export interface LetterKey {
  readonly group: string
  readonly topic: string
  readonly topicId: string
  readonly partition: number
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
 * Locks the lane's position to the end of the transaction and raises `holds`, so that no batch commits that does not know of the key. No row: the number
 * of lanes was changed meanwhile, so the key may be another one's.
 */
export function holdLane(schema: string, { group, topicId, partition }: LetterKey, lane: number, lanes: number): Statement {
  return {
    text: `update ${schema}.consumer_position set holds = holds + 1
where group_name = $1 and topic_id = $2 and partition = $3 and lane = $4 and lanes = $5 returning next_offset`,
    params: [group, topicId, partition, lane, lanes],
  }
}

/** Makes the key's row, or locks the one that is there: `do nothing` would do neither while a release is under way. */
export function lockOrMakeKey(schema: string, key: LetterKey): Statement {
  return {
    text: `insert into ${schema}.parked_key as k (group_name, topic_id, partition, key, topic, reason) values ($1, $2, $3, $4, $5, 'redriven')
on conflict (group_name, topic_id, partition, key_hash) do update set key = k.key`,
    params: [...keyParams(key), key.topic],
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

/** Which of these offsets wait behind the key, with their bytes as `parked_key.bytes` counts them. After the key's lock. */
export function queuedOffsets(schema: string, key: LetterKey, offsets: readonly number[]): Statement {
  return {
    text: `select m.log_offset, m.bytes, m.dead
from ${schema}.parked_msg m where ${ofKey('m')} and m.log_offset = any($5::bigint[])`,
    params: [...keyParams(key), offsets],
  }
}

/** Puts letters back at their old offsets, as they stand after their last edit. Where one blocks its key, it is there already. */
export function requeueLetters(schema: string, { key, keyless }: LetterKey, ids: readonly number[]): Statement {
  return {
    text: `insert into ${schema}.parked_msg (group_name, topic, topic_id, partition, key, log_offset, log_time, value, headers, dead, letter_id, keyless, bytes)
select d.group_name, d.topic, d.topic_id, d.partition, $2, d.log_offset, d.log_time, d.value, d.headers, false, d.id, $3,
  octet_length($2::bytea) + coalesce(octet_length(d.value), 0)
from ${schema}.dead_letter d where d.id = any($1::bigint[])
on conflict (group_name, topic_id, partition, key_hash, log_offset) do update
  set dead = false, letter_id = excluded.letter_id, value = excluded.value, headers = excluded.headers, bytes = excluded.bytes`,
    params: [ids, key, keyless],
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
  readonly messages: number
  readonly bytes: number
  /** A head at one of these offsets is a new one: what was noted of the former one's failures goes. */
  readonly put?: readonly number[]
  /** So is one behind this offset. */
  readonly removed?: number
}

/** Brings the key's row in line with its queue, in a statement after the change: counts, and when it is due. */
export function settleKey(schema: string, key: LetterKey, { messages, bytes, put = [], removed }: QueueChange): Statement {
  const isNew = '(h.log_offset = any($7::bigint[]) or h.log_offset > $8::bigint)'
  return {
    text: `update ${schema}.parked_key k set messages = k.messages + $5::bigint, bytes = k.bytes + $6::bigint,
  attempts = case when ${isNew} then 0 else k.attempts end,
  failures = case when ${isNew} then '[]' else k.failures end,
  crashes = case when ${isNew} then 0 else k.crashes end,
  next_attempt_at = case when h.dead then 'infinity' when ${isNew} then now() else k.next_attempt_at end
from (select 1) one left join (select m.log_offset, m.dead from ${schema}.parked_msg m where ${ofKey('m')} order by m.log_offset limit 1) h on true
where ${ofKey('k')}`,
    params: [...keyParams(key), messages, bytes, put, removed ?? null],
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
