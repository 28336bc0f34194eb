import type { Session } from '../session.ts'

/** Where to read on, by the topic's key. */
export interface ReadPosition {
  readonly key: number
  readonly partition: number
  readonly offset: number
}

/** One batch, or, without a body, a partition that does not hold the asked offset (`endOffset` null: that is not there at all). */
export interface FetchedBatch {
  /** Which of the asked positions. */
  readonly place: number
  readonly startOffset: number
  readonly endOffset: number | null
  readonly batch: { readonly baseOffset: number; readonly records: number; readonly appendedMs: number; readonly body: Buffer } | null
}

interface Row extends Record<string, unknown> {
  readonly place: number
  readonly start_offset: string | null
  readonly end_offset: string | null
  readonly base_offset: string | null
  readonly records: number | null
  readonly appended_ms: string | null
  readonly body: Buffer | null
}

export async function fetchBatches(
  session: Session,
  schema: string,
  from: readonly ReadPosition[],
  maxBytes: number,
): Promise<FetchedBatch[]> {
  const rows = await session.query<Row>(`select * from ${schema}.log_fetch($1, $2, $3, $4)`, [...columns(from), maxBytes])
  return rows.map((row) => ({
    place: row.place - 1,
    startOffset: Number(row.start_offset),
    endOffset: row.end_offset === null ? null : Number(row.end_offset),
    batch:
      row.body === null
        ? null
        : { baseOffset: Number(row.base_offset), records: row.records!, appendedMs: Number(row.appended_ms), body: row.body },
  }))
}

/** Which of the positions have something after them, by place, and where they end now (`null`: gone). */
export async function headNews(
  session: Session,
  schema: string,
  from: readonly ReadPosition[],
): Promise<{ place: number; endOffset: number | null }[]> {
  const rows = await session.query<Pick<Row, 'place' | 'end_offset'>>(`select * from ${schema}.log_news($1, $2, $3)`, columns(from))
  return rows.map((row) => ({ place: row.place - 1, endOffset: row.end_offset === null ? null : Number(row.end_offset) }))
}

function columns(from: readonly ReadPosition[]): number[][] {
  return [from.map((p) => p.key), from.map((p) => p.partition), from.map((p) => p.offset)]
}

/** How far a group says it has come in each partition of a topic; `null`: it never said. */
export async function readCommitted(session: Session, schema: string, group: string, topic: number): Promise<(number | null)[]> {
  const rows = await session.query<{ next_offset: string | null }>(
    `select o.next_offset from ${schema}.log_head h
     left join ${schema}.log_group_offset o on o.topic = h.topic and o.partition = h.partition and o."group" = $1
     where h.topic = $2 order by h.partition`,
    [group, topic],
  )
  return rows.map(({ next_offset }) => (next_offset === null ? null : Number(next_offset)))
}

/** Notes how far a group says it has come. */
export async function noteOffsets(session: Session, schema: string, group: string, offsets: readonly ReadPosition[]): Promise<void> {
  const sorted = offsets.toSorted((a, b) => a.key - b.key || a.partition - b.partition)
  await session.query(
    `insert into ${schema}.log_group_offset ("group", topic, partition, next_offset)
     select $1, a.topic, a.partition, a.next_offset from unnest($2::int[], $3::int[], $4::bigint[]) a(topic, partition, next_offset)
     join ${schema}.log_topic t on t.key = a.topic
     on conflict ("group", topic, partition) do update set next_offset = excluded.next_offset, committed_at = now()`,
    [group, ...columns(sorted)],
  )
}
