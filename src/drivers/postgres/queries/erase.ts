import type { ErasedKey } from '../../../operation/erase.ts'
import type { Statement } from '../statement-run.ts'

/** Statements that erase the content of one key's messages. `schema` is the quoted name everywhere. */

/** Says of a row or record that its content was erased, and when. */
export const erasedHeader = 'tidemark-erased'

/** On the wire for good, so that no relay reads its content again; or discarded, and never to be sent. */
function isPublished(schema: string): string {
  return `(exists (select from ${schema}.relay_discarded d where d.seq = o.seq) or exists (select from ${schema}.relay r
      where r.stream = ${schema}.outbox_shard(o.aggregatetype, o.aggregateid, r.streams)
        and (pg_visible_in_snapshot(o.xid, r.prev) or pg_visible_in_snapshot(o.xid, r.cur) and (r.finished or o.seq <= r.done_seq))
        and not exists (select from ${schema}.relay_held h where h.stream = r.stream and h.seq = o.seq)))`
}

const ofOutboxKey = `o.aggregatetype = $1 and o.aggregateid = $2 and not o.headers ? '${erasedHeader}'`

export function countOutbox(schema: string, { aggregateType, key }: ErasedKey): Statement {
  return {
    text: `select count(*) filter (where published) as ready, count(*) filter (where not published) as waiting
      from (select ${isPublished(schema)} as published from ${schema}.outbox o where ${ofOutboxKey}) p`,
    params: [aggregateType, key],
  }
}

/** Number, id, type and transaction stay: the archive has no holes. */
export function eraseOutbox(schema: string, { aggregateType, key }: ErasedKey): Statement {
  return {
    text: `update ${schema}.outbox o set payload = '', headers = jsonb_strip_nulls(jsonb_build_object('tidemark-topic', o.headers->'tidemark-topic',
        '${erasedHeader}', now())) where ${ofOutboxKey} and ${isPublished(schema)}`,
    params: [aggregateType, key],
  }
}

/** One of these topics, or one in which its failed messages wait or its dead letters have a copy, by the names that these have by default. */
const isTopic = (name: string): string =>
  `(${name} = any($1::text[]) or ${name} ~ '[.](retry[.][0-9]+|dlq)$' and exists (select from unnest($1::text[]) event_topic where starts_with(${name}, event_topic || '.')))`
const ofTopics = (alias: string): string => `${isTopic(`${alias}.topic`)} and ${alias}.key = convert_to($2, 'UTF8')`
const topicsAndKey = ({ topics, key }: ErasedKey): readonly unknown[] => [topics, key]

export function countParked(schema: string, key: ErasedKey): Statement {
  return {
    text: `select count(*) as ready from ${schema}.parked_msg m where ${ofTopics('m')} and not m.keyless`,
    params: topicsAndKey(key),
  }
}

/** The keys' rows, locked in their order: whoever runs their messages loses its lease. */
export function lockParkedKeys(schema: string, key: ErasedKey): Statement {
  return {
    text: `select k.group_name, k.topic_id, k.partition, k.key_hash from ${schema}.parked_key k where k.key_hash = sha256(convert_to($2, 'UTF8'))
      and exists (select from ${schema}.parked_msg m where ${ofTopics('m')} and m.group_name = k.group_name and m.topic_id = k.topic_id
        and m.partition = k.partition and m.key_hash = k.key_hash) order by k.group_name, k.topic_id, k.partition for update`,
    params: topicsAndKey(key),
  }
}

/** Letters that are still among what waits, the dead head and redriven ones: they end with it. */
export function endWaitingLetters(schema: string, key: ErasedKey, actor: string): Statement {
  return {
    text: `update ${schema}.dead_letter d set state = 'discarded', version = version + 1, ended_at = now(), ended_by = $3, end_reason = 'erased'
      where d.id in (select e.id from ${schema}.dead_letter e join ${schema}.parked_msg m on m.group_name = e.group_name and m.topic_id = e.topic_id
        and m.partition = e.partition and m.log_offset = e.log_offset where ${ofTopics('m')} and e.ended_at is null order by e.id for update of e)`,
    params: [...topicsAndKey(key), actor],
  }
}

export function deleteParked(schema: string, key: ErasedKey): Statement {
  return {
    text: `delete from ${schema}.parked_msg m where ${ofTopics('m')} and not m.keyless
      returning m.group_name, m.topic, m.topic_id, m.partition, m.key_hash, m.log_offset`,
    params: topicsAndKey(key),
  }
}

/** Keys without messages go; one that somebody holds stays, empty. */
export function emptyKeys(schema: string, key: ErasedKey): readonly Statement[] {
  const isEmpty = `k.key_hash = sha256(convert_to($1, 'UTF8')) and not exists (select from ${schema}.parked_msg m where m.group_name = k.group_name
    and m.topic_id = k.topic_id and m.partition = k.partition and m.key_hash = k.key_hash)`
  return [
    { text: `delete from ${schema}.parked_key k where ${isEmpty} and k.held_by is null`, params: [key.key] },
    {
      text: `update ${schema}.parked_key k set messages = 0, bytes = 0, lease = null, next_attempt_at = now(), reason = 'erased', failures = '[]' where ${isEmpty}`,
      params: [key.key],
    },
  ]
}

const hasContent = `(d.value is not null or d.headers::text <> '[]' or d.stack is not null or d.attempts::text <> '[]')`

export function countLetters(schema: string, key: ErasedKey): Statement {
  return {
    text: `select count(*) as ready from ${schema}.dead_letter d where ${ofTopics('d')} and ${hasContent}`,
    params: topicsAndKey(key),
  }
}

/** Its place, ids, classes and times stay; what could quote the message goes. One that is dead ends with it. */
export function eraseLetters(schema: string, key: ErasedKey, actor: string): readonly Statement[] {
  const params = topicsAndKey(key)
  const ids = `select d.id from ${schema}.dead_letter d where ${ofTopics('d')}`
  return [
    {
      text: `update ${schema}.dead_letter_edit e set value = null, headers = '[]', reason = null where e.letter_id in (${ids})`,
      params,
    },
    {
      text: `update ${schema}.dead_letter_event e set text = null where e.action in ('commented', 'edited') and e.letter_id in (${ids})`,
      params,
    },
    {
      // One whose message waits, or blocks its key, would leave it behind without a letter: it goes when what waits has gone.
      text: `update ${schema}.dead_letter d set value = null, headers = '[]', stack = null, attempts = '[]', reason = 'erased', version = version + 1,
        state = case when state = 'dead' then 'discarded' else state end,
        ended_at = case when state = 'dead' then now() else ended_at end,
        ended_by = case when state = 'dead' then $3 else ended_by end,
        end_reason = case when state = 'dead' then 'erased' else end_reason end
      where ${ofTopics('d')} and ${hasContent} and not exists (select from ${schema}.parked_msg m where m.group_name = d.group_name
        and m.topic_id = d.topic_id and m.partition = d.partition and m.log_offset = d.log_offset)`,
      params: [...params, actor],
    },
  ]
}

/** Of messages of the key that this database knows. */
export function messageIds(schema: string, { aggregateType, topics, key }: ErasedKey): Statement {
  return {
    text: `select o.id::text as id from ${schema}.outbox o where o.aggregatetype = $3 and o.aggregateid = $2
      union select d.message_id from ${schema}.dead_letter d where ${ofTopics('d')} and d.message_id is not null`,
    params: [topics, key, aggregateType],
  }
}

/** An identity is a source and an id with a blank between. */
const ofMessages = `substring(i.identity from '[^ ]+$') = any($1::text[]) and octet_length(i.response) > 0 and i.format <> 'http'`

export function countResponses(schema: string, ids: readonly string[]): Statement {
  return { text: `select count(*) as ready from ${schema}.idempotency_key i where ${ofMessages}`, params: [ids] }
}

/** That the call was made stays: it is not made again. */
export function eraseResponses(schema: string, ids: readonly string[]): Statement {
  return {
    text: `update ${schema}.idempotency_key i set response = '', format = 'none', fingerprint = null where ${ofMessages}`,
    params: [ids],
  }
}

/** Batches that have the key's bytes somewhere, by place. */
export function batchesWith(
  schema: string,
  { topics, key }: ErasedKey,
  after: { readonly topic: number; readonly partition: number; readonly offset: number },
  limit: number,
): Statement {
  return {
    text: `select b.topic, t.name, b.partition, b.base_offset, b.records, b.appended_ms, b.body from ${schema}.log_batch b
      join ${schema}.log_topic t on t.key = b.topic
      where ${isTopic('t.name')} and (b.topic, b.partition, b.base_offset) > ($3, $4, $5::bigint)
        and position(convert_to($2, 'UTF8') in b.body) > 0 order by b.topic, b.partition, b.base_offset limit $6`,
    params: [topics, key, after.topic, after.partition, after.offset, limit],
  }
}

/** Where a batch stands. */
export interface BatchPlace {
  readonly topic: number
  readonly partition: number
  readonly offset: number
}

/**
 * Replaces nothing where the batch is not as it was read: it was removed, or somebody else has erased in it. The batch first and its partition's head
 * after it, as removing does.
 */
export function replaceBatch(schema: string, { topic, partition, offset }: BatchPlace, before: Buffer, after: Buffer): Statement {
  return {
    text: `with replaced as (update ${schema}.log_batch set body = $5 where topic = $1 and partition = $2 and base_offset = $3 and body = $4 returning 1)
      update ${schema}.log_head h set bytes = greatest(0, h.bytes + $6) from replaced where h.topic = $1 and h.partition = $2`,
    params: [topic, partition, offset, before, after, after.length - before.length],
  }
}
