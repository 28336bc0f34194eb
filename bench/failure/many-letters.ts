import type { Server } from '../harness/server.ts'

/** Dead letters of about 1 KB, of 5 groups, 7 types and 70 ways to die. */
export async function insertLetters(server: Server, database: string, count: number): Promise<void> {
  await server.query(
    database,
    `insert into tidemark.dead_letter (group_name, topic, topic_id, partition, log_offset, log_time, key, value, headers, message_id, type, handler, policy,
  error_class, reason, stack, attempts, fingerprint, frame, died_at)
select 'group-' || n % 5, 'things', 'id', n % 12, n, now(), convert_to('key-' || n % 20000, 'utf8'), convert_to(repeat('x', 600), 'utf8'),
  '[["ce_type","Thing"]]', gen_random_uuid()::text, 'Type' || n % 7, 'handler', 'block', 'TypeError', 'cannot be handled ' || n % 70, repeat('at place ', 20),
  '[{"at":"2026-01-01T00:00:00.000Z","error":"no"}]', md5((n % 70)::text), 'handle (src/billing.ts:1:1)', now() - n * interval '6 seconds'
from generate_series(1, $1::int) as n`,
    [count],
  )
}
