import type { LeaseRequest, LeasedKey } from '../../../consumer/parked-port.ts'
import type { FailedAttempt, PartitionRef } from '../../../consumer/port.ts'
import type { Statement } from '../statement-run.ts'
import { attemptsToJson, storableText } from './record-columns.ts'

/** Statements of a retrier on `parked_key` and `parked_msg`. `schema` is the quoted name everywhere. */

/** Keys that are due. A lease that is over says that its holder vanished. To look for suspects where there are none reads all keys that are due. */
export function leaseKeys(schema: string, { group, topicIds, keys, beyond, suspects, leaseMs }: LeaseRequest): Statement {
  const isDue = `k.group_name = $1 and k.next_attempt_at <= clock_timestamp() and k.topic_id = any($2::text[]) and k.held_by is null`
  return {
    text: `with picked as (
  select k.topic_id, k.partition, k.key_hash, k.bytes, k.next_attempt_at from ${schema}.parked_key k
  where ${isDue} and k.lease is null and k.crashes = 0 order by k.next_attempt_at limit $3 for update skip locked),
suspects as (
  select k.topic_id, k.partition, k.key_hash from ${schema}.parked_key k
  where ${isDue} and (k.lease_until < clock_timestamp() or k.lease is null and k.crashes > 0) order by k.next_attempt_at limit $5 for update skip locked),
due as (
  select p.topic_id, p.partition, p.key_hash from (
    select *, row_number() over in_turn as place, sum(bytes) over in_turn as bytes_so_far from picked window in_turn as (order by next_attempt_at, key_hash)) p
  where p.place <= $6 or p.bytes_so_far <= $7
  union all select * from suspects)
update ${schema}.parked_key k set crashes = k.crashes + (k.lease is not null)::int, lease = nextval('${schema}.parked_lease'),
  lease_until = clock_timestamp() + $4 * interval '1 millisecond'
from due d where k.group_name = $1 and k.topic_id = d.topic_id and k.partition = d.partition and k.key_hash = d.key_hash
returning k.topic, k.topic_id, k.partition, k.key, k.lease, k.attempts, k.failures::text as failures, k.crashes`,
    params: [group, topicIds, keys, leaseMs, suspects, beyond.keys, beyond.bytes],
  }
}

/** The first messages of some keys, in the order of the keys; of each the head, and what follows it up to the limit. */
export function firstMessages(
  schema: string,
  group: string,
  keys: readonly (Pick<PartitionRef, 'topicId' | 'partition'> & { readonly key: Buffer })[],
  limit: { readonly messages: number; readonly bytes: number },
): Statement {
  return {
    text: `select k.place::int as place, m.* from unnest($2::text[], $3::int[], $4::bytea[]) with ordinality as k(topic_id, partition, key, place)
cross join lateral (
  select m.topic, m.partition, m.key, m.log_offset, extract(epoch from m.log_time) * 1000 as log_time, m.value, m.headers::text as headers, m.keyless, m.letter_id, m.dead,
    sum(m.bytes) over (order by m.log_offset) - m.bytes as bytes_before
  from ${schema}.parked_msg m
  where m.group_name = $1 and m.topic_id = k.topic_id and m.partition = k.partition and m.key_hash = sha256(k.key)
  order by m.log_offset limit $5) m where m.bytes_before < $6 order by k.place, m.log_offset`,
    params: [
      group,
      keys.map(({ topicId }) => topicId),
      keys.map(({ partition }) => partition),
      keys.map(({ key }) => key),
      limit.messages,
      limit.bytes,
    ],
  }
}

const sameKey = `group_name = $1 and topic_id = $2 and partition = $3 and key_hash = sha256($4)`
const keyParams = ({ partition: { group, topicId, partition }, key }: LeasedKey): readonly unknown[] => [group, topicId, partition, key]

/** The first messages of a key that are done. */
export interface DoneHead {
  readonly key: LeasedKey
  /** Rising; never empty. */
  readonly offsets: readonly number[]
}

const places = '$2::text[], $3::int[], $4::bytea[]'

/** Those of one group. */
function placesOf(keys: readonly LeasedKey[]): readonly unknown[] {
  return [
    keys[0]!.partition.group,
    keys.map(({ partition: { topicId } }) => topicId),
    keys.map(({ partition: { partition } }) => partition),
    keys.map(({ key }) => key),
  ]
}

const same = (row: string, place: string): string =>
  `${row}.group_name = $1 and ${row}.topic_id = ${place}.topic_id and ${row}.partition = ${place}.partition and ${row}.key_hash = sha256(${place}.key)`

/** An array of arrays must not be ragged, so each goes as text. */
const offsetsOf = (heads: readonly DoneHead[]): readonly string[] => heads.map(({ offsets }) => `{${offsets.join(',')}}`)

/** The keys of which the lease is ours, locked in the order in which all lock them. Those of one group. */
function leasedOf(schema: string): string {
  return `select k.topic_id, k.partition, k.key_hash from ${schema}.parked_key k join unnest(${places}, $5::bigint[]) as w(topic_id, partition, key, lease)
  on ${same('k', 'w')} and k.lease = w.lease order by k.topic_id, k.partition, k.key_hash for update of k`
}

const leasesOf = (keys: readonly LeasedKey[]): readonly unknown[] => [...placesOf(keys), keys.map(({ token }) => token)]

/** Fails when one of them is gone, or leased to somebody else. */
export function lockLeases(schema: string, keys: readonly LeasedKey[]): Statement {
  return {
    text: `with locked as (${leasedOf(schema)}) select ${schema}.consumer_require(count(*) = $6, 'moved') from locked`,
    params: [...leasesOf(keys), keys.length],
  }
}

/** Fails unless these are the first messages still, and none of them is dead: a redrive may have put an earlier one in front. */
export function requireHeads(schema: string, heads: readonly DoneHead[]): Statement {
  return {
    text: `select ${schema}.consumer_require(bool_and(coalesce(h.offsets = w.offsets::bigint[] and not h.dead, false)), 'moved')
from unnest(${places}, $5::text[]) as w(topic_id, partition, key, offsets) cross join lateral (
  select array_agg(f.log_offset order by f.log_offset) as offsets, bool_or(f.dead) as dead from (
    select m.log_offset, m.dead from ${schema}.parked_msg m where ${same('m', 'w')} order by m.log_offset limit cardinality(w.offsets::bigint[])) f) h`,
    params: [...placesOf(heads.map(({ key }) => key)), offsetsOf(heads)],
  }
}

/**
 * Takes messages out of the queues, and gives the keys back. Letters that they were have come to their end.
 *
 * The letter's state is asked in a form that no index serves: after a redrive of many, statistics still say that none is redriven, and a plan by that
 * index would read them all.
 */
export function removeMessages(schema: string, heads: readonly DoneHead[]): Statement {
  return {
    text: `with done as (select w.topic_id, w.partition, w.key, o.log_offset
  from unnest(${places}, $5::text[]) as w(topic_id, partition, key, offsets) cross join lateral unnest(w.offsets::bigint[]) as o(log_offset)),
gone as (delete from ${schema}.parked_msg m using done d where ${same('m', 'd')} and m.log_offset = d.log_offset
  returning m.topic_id, m.partition, m.key_hash, m.bytes, m.letter_id),
ended as (update ${schema}.dead_letter l set ended_at = now(), version = l.version + 1 from gone where l.id = gone.letter_id and l.state is not distinct from 'redriven'),
sums as (select topic_id, partition, key_hash, count(*) as messages, sum(bytes) as bytes from gone group by 1, 2, 3)
update ${schema}.parked_key k set messages = greatest(k.messages - s.messages, 0), bytes = greatest(k.bytes - s.bytes, 0), lease = null, lease_until = null,
  attempts = 0, failures = '[]', crashes = 0, next_attempt_at = clock_timestamp()
from sums s where k.group_name = $1 and k.topic_id = s.topic_id and k.partition = s.partition and k.key_hash = s.key_hash`,
    params: [...placesOf(heads.map(({ key }) => key)), offsetsOf(heads)],
  }
}

/** In a statement after the removal: what was added while we waited for the locks must be seen. */
export function releaseIfEmpty(schema: string, keys: readonly LeasedKey[]): Statement {
  return {
    text: `delete from ${schema}.parked_key k using unnest(${places}) as w(topic_id, partition, key)
where ${same('k', 'w')} and k.held_by is null and not exists (select from ${schema}.parked_msg m where ${same('m', 'w')})`,
    params: placesOf(keys),
  }
}

/** A dead letter may be the head now. */
export function blockIfDead(schema: string, keys: readonly LeasedKey[]): Statement {
  return {
    text: `update ${schema}.parked_key k set next_attempt_at = 'infinity' from unnest(${places}) as w(topic_id, partition, key)
where ${same('k', 'w')} and (select m.dead from ${schema}.parked_msg m where ${same('m', 'w')} order by m.log_offset limit 1)`,
    params: placesOf(keys),
  }
}

export function noteFailure(
  schema: string,
  key: LeasedKey,
  failure: { readonly charged: number; readonly attempts: readonly FailedAttempt[]; readonly reason: string; readonly afterMs: number },
): Statement {
  return {
    text: `update ${schema}.parked_key set attempts = $5, failures = $6, reason = $7, next_attempt_at = clock_timestamp() + $8 * interval '1 millisecond',
  lease = null, lease_until = null, crashes = 0 where ${sameKey}`,
    params: [...keyParams(key), failure.charged, attemptsToJson(failure.attempts), storableText(failure.reason), failure.afterMs],
  }
}

/** The head is dead, and what follows it waits for somebody to decide. */
export function blockHead(schema: string, key: LeasedKey, offset: number): Statement {
  return {
    text: `with head as (update ${schema}.parked_msg m set dead = true, letter_id = (
  select l.id from ${schema}.dead_letter l where l.group_name = $1 and l.topic_id = $2 and l.partition = $3 and l.log_offset = $5)
  where ${sameKey} and log_offset = $5)
update ${schema}.parked_key set next_attempt_at = 'infinity', lease = null, lease_until = null, attempts = 0, failures = '[]', crashes = 0 where ${sameKey}`,
    params: [...keyParams(key), offset],
  }
}

export function renewLeases(schema: string, keys: readonly LeasedKey[], leaseMs: number): Statement {
  return {
    text: `with ours as (${leasedOf(schema)})
update ${schema}.parked_key k set lease_until = clock_timestamp() + $6 * interval '1 millisecond' from ours o
where k.group_name = $1 and k.topic_id = o.topic_id and k.partition = o.partition and k.key_hash = o.key_hash`,
    params: [...leasesOf(keys), leaseMs],
  }
}

export function giveBackLeases(schema: string, keys: readonly LeasedKey[], how: 'tried' | 'untried', afterMs: number): Statement {
  return {
    text: `with ours as (${leasedOf(schema)})
update ${schema}.parked_key k set lease = null, lease_until = null, crashes = case when $7 then 0 else k.crashes end,
  next_attempt_at = clock_timestamp() + $6 * interval '1 millisecond' from ours o
where k.group_name = $1 and k.topic_id = o.topic_id and k.partition = o.partition and k.key_hash = o.key_hash and k.next_attempt_at < 'infinity'`,
    params: [...leasesOf(keys), afterMs, how === 'tried'],
  }
}

export function refundKeys(schema: string, { group, topicId, partition }: PartitionRef, keys: readonly Buffer[]): Statement {
  return {
    // Locked in the order in which all others lock them.
    text: `with charged as (select key_hash from ${schema}.parked_key
  where group_name = $1 and topic_id = $2 and partition = $3 and key_hash in (select sha256(k) from unnest($4::bytea[]) k)
    and attempts > 0 and lease is null and next_attempt_at < 'infinity' order by key_hash for update)
update ${schema}.parked_key k set attempts = k.attempts - 1, failures = (k.failures::jsonb - -1)::json, next_attempt_at = clock_timestamp()
from charged c where k.group_name = $1 and k.topic_id = $2 and k.partition = $3 and k.key_hash = c.key_hash`,
    params: [group, topicId, partition, keys],
  }
}

export function waitingOf(schema: string, group: string): Statement {
  return {
    text: `select coalesce(sum(messages), 0) as messages from ${schema}.parked_key where group_name = $1 and next_attempt_at < 'infinity' and held_by is null`,
    params: [group],
  }
}
