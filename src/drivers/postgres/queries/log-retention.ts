import type { Session } from '../session.ts'

/** Batches removed in one transaction: few enough that appends, which wait for the head at its end, do not notice. */
const batchesAStep = 64

/** Partitions whose oldest batch is past its time, or that are too large. Reads one index entry of each. */
export async function partitionsToTrim(session: Session, schema: string): Promise<{ topic: number; partition: number }[]> {
  return session.query<{ topic: number; partition: number }>(
    `select h.topic, h.partition from ${schema}.log_head h join ${schema}.log_topic t on t.key = h.topic
     where h.bytes > t.retention_bytes or (h.next_offset > h.start_offset
       and (select b.appended_ms from ${schema}.log_batch b where b.topic = h.topic and b.partition = h.partition order by b.base_offset limit 1)
         < extract(epoch from clock_timestamp()) * 1000 - t.retention_ms)
     order by 1, 2`,
  )
}

/** One step. `busy`: another process is at it. */
export async function trimStep(session: Session, schema: string, topic: number, partition: number): Promise<'busy' | 'more' | 'done'> {
  const [row] = await session.query<{ removed: number | null }>(
    `select case when pg_try_advisory_xact_lock(hashtextextended($1, 0)) then ${schema}.log_trim($2, $3, $4) end as removed`,
    [`tidemark log_trim ${schema}`, topic, partition, batchesAStep],
  )
  const { removed } = row!
  return removed === null ? 'busy' : removed === batchesAStep ? 'more' : 'done'
}

/** By name. Without a number a topic is kept for ever. */
export async function readRetention(session: Session, schema: string, names: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const rows = await session.query(`select name, retention_ms::text from ${schema}.log_topic where name = any($1::text[])`, [names])
  return new Map(rows.map(({ name, retention_ms: ms }) => [String(name), ms === null ? Infinity : Number(ms)]))
}
