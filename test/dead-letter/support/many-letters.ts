import type { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'

/** What autovacuum does by itself within a minute. Rows count as visible to all once their commit is on the disk. */
export async function vacuumLetters(database: PostgresDatabase): Promise<void> {
  // A durable commit flushes those before it; the test server's own are not.
  await database.use((session) => session.run([{ text: 'set local synchronous_commit = on' }, { text: 'create table flushed ()' }]))
  await database.query('vacuum analyze tidemark.dead_letter')
}

/** Puts letters of about a kilobyte into the table, of 40 kinds, over 7 days; every tenth one is not of a living kind. */
export async function insertManyLetters(database: PostgresDatabase, count: number): Promise<void> {
  await database.query(
    `insert into tidemark.dead_letter (group_name, topic, topic_id, partition, log_offset, log_time, key, value, headers, message_id, type, handler, policy, state,
  error_class, reason, stack, attempts, code_version, died_at, fingerprint, frame, first_failed_at, last_failed_at, retry_count)
select 'group-' || n % 4, 'topic', 'topic-id', n % 8, n, now() - (n || ' seconds')::interval, convert_to('key-' || n % 20000, 'UTF8'),
  convert_to(repeat('x', 900) || n, 'UTF8'), ('[["id","' || n || '"]]')::json, 'message-' || n, 'Type' || n % 5, 'handler', 'skip',
  case when n % 10 = 0 then 'redriven' else 'dead' end, 'Error' || n % 10, 'the reason of ' || n % 500, repeat('at somewhere ', 20), '[]', 'v1',
  now() - (n * 6 || ' seconds')::interval, md5((n % 40)::text), 'frame of ' || n % 40, now(), now(), 5
from generate_series(1, $1::int) n`,
    [count],
  )
}

/** Where each of them belongs to: positions of their groups, far behind them. */
export async function insertManyPositions(database: PostgresDatabase): Promise<void> {
  await database.query(`insert into tidemark.consumer_position (group_name, topic, topic_id, partition, lane, lanes, next_offset)
    select 'group-' || g, 'topic', 'topic-id', p, l, 2, 1000000 from generate_series(0, 3) g, generate_series(0, 7) p, generate_series(0, 1) l
    on conflict do nothing`)
}
