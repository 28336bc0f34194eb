import { keylessPrefix, splitExamples } from '../../../consumer/parked/parked-key.ts'
import type { SplitKeys } from '../../../consumer/parked-port.ts'
import type { Row } from '../../../message/transaction.ts'
import type { Statement } from '../statement-run.ts'

/** A row for each example, with what holds of all keys of its topic. The primary key has all that is grouped by; keys are read of those alone that are found. */
export function splitKeys(schema: string, group: string): Statement {
  return {
    text: `with split as (select topic_id, key_hash, array_agg(partition order by partition) as partitions
  from ${schema}.parked_key where group_name = $1 and messages > 0 group by topic_id, key_hash having count(*) > 1),
named as (select k.topic, s.topic_id, k.key, s.partitions, row_number() over (partition by s.topic_id order by s.key_hash) as place
  from split s join ${schema}.parked_key k on k.group_name = $1 and k.topic_id = s.topic_id and k.partition = s.partitions[1] and k.key_hash = s.key_hash
  where substring(k.key for octet_length($2::bytea)) <> $2::bytea),
topics as (select topic_id, count(distinct place)::int as keys, array_agg(distinct p order by p) as spread from named, unnest(partitions) as p group by 1)
select n.topic, n.topic_id, n.key, n.partitions, t.keys, t.spread from named n join topics t using (topic_id) where n.place <= $3
order by n.topic, n.topic_id, n.place`,
    params: [group, Buffer.from(keylessPrefix), splitExamples],
  }
}

export function splitKeysOf(rows: readonly Row[]): readonly SplitKeys[] {
  const firsts = rows.filter((row, i) => row['topic_id'] !== rows[i - 1]?.['topic_id'])
  return firsts.map((first) => ({
    topic: String(first['topic']),
    topicId: String(first['topic_id']),
    keys: Number(first['keys']),
    partitions: first['spread'] as readonly number[],
    examples: rows
      .filter((row) => row['topic_id'] === first['topic_id'])
      .map((row) => ({ key: row['key'] as Buffer, partitions: row['partitions'] as readonly number[] })),
  }))
}
