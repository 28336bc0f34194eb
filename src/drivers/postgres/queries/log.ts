import type { Session } from '../session.ts'

/** A topic's row. */
export interface TopicRow {
  readonly key: number
  readonly name: string
  readonly id: string
  readonly partitions: number
}

export interface NewTopic {
  readonly name: string
  readonly partitions: number
  /** `null`: for ever, however large. */
  readonly retentionMs: number | null
  readonly retentionBytes: number | null
}

const topicColumns = 'key, name, id, partitions'

/** Makes those that are missing, sorted by name so that two processes do not deadlock. The other's are visible to the next statement. */
export async function createTopics(session: Session, schema: string, topics: readonly NewTopic[]): Promise<void> {
  const sorted = topics.toSorted((a, b) => (a.name < b.name ? -1 : 1))
  await session.query(
    `with made as (
       insert into ${schema}.log_topic (name, partitions, retention_ms, retention_bytes)
       select * from unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[]) on conflict (name) do nothing returning key, partitions)
     insert into ${schema}.log_head (topic, partition) select key, generate_series(0, partitions - 1) from made`,
    [sorted.map((t) => t.name), sorted.map((t) => t.partitions), sorted.map((t) => t.retentionMs), sorted.map((t) => t.retentionBytes)],
  )
}

export function readTopics(session: Session, schema: string, names: readonly string[]): Promise<TopicRow[]> {
  return session.query<TopicRow & Record<string, unknown>>(`select ${topicColumns} from ${schema}.log_topic where name = any($1::text[])`, [
    names,
  ])
}

/** Removes a topic, its records and what groups noted of it. Its members look again. */
export async function deleteTopic(session: Session, schema: string, name: string): Promise<void> {
  await session.run([
    {
      text: `update ${schema}.log_group g set version = version + 1
        where exists (select from ${schema}.log_assignment a join ${schema}.log_topic t on t.key = a.topic where a."group" = g.name and t.name = $1)`,
      params: [name],
    },
    { text: `delete from ${schema}.log_topic where name = $1`, params: [name] },
    { text: `delete from ${schema}.log_batch b where not exists (select from ${schema}.log_topic t where t.key = b.topic)` },
  ])
}

/** First offset kept, or the one after the last, or the first not older than a time (milliseconds since 1970), of each partition by number. */
export async function readOffsets(session: Session, schema: string, topic: number, at: 'earliest' | 'latest' | number): Promise<number[]> {
  const column = at === 'earliest' ? 'start_offset' : at === 'latest' ? 'next_offset' : firstSince(schema)
  const rows = await session.query<{ found: string }>(
    `select ${column} as found from ${schema}.log_head h where topic = $1 order by partition`,
    typeof at === 'number' ? [topic, at] : [topic],
  )
  return rows.map(({ found }) => Number(found))
}

function firstSince(schema: string): string {
  return `coalesce((select b.base_offset from ${schema}.log_batch b where b.topic = h.topic and b.partition = h.partition and b.appended_ms >= $2
    order by b.appended_ms, b.base_offset limit 1), h.next_offset)`
}
