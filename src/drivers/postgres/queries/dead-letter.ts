import type { DeadLetter, PartitionRef } from '../../../consumer/port.ts'
import type { Statement } from '../statement-run.ts'
import { attemptsToJson, headersToJson, storableText } from './record-columns.ts'

/** Statements on `dead_letter`. `schema` is the quoted name everywhere. */

/**
 * Gives a message up. One that was redriven and dies again is the same letter: its attempts go on, and its bytes stay as they are, edits included.
 */
export function bury(schema: string, partition: PartitionRef, letter: DeadLetter): Statement {
  const { record, attempts } = letter
  const now = Date.now()
  return {
    text: `insert into ${schema}.dead_letter as old (group_name, topic, topic_id, partition, log_offset, log_time, key, value, headers,
  message_id, type, handler, policy, error_class, reason, stack, attempts, code_version, frame, fingerprint, first_failed_at, last_failed_at, retry_count)
values ($1, $2, $3, $4, $5, to_timestamp($6::bigint / 1000.0), $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
  to_timestamp($21::bigint / 1000.0), to_timestamp($22::bigint / 1000.0), $23)
on conflict (group_name, topic_id, partition, log_offset) do update set state = 'dead', died_at = now(), version = old.version + 1,
  message_id = excluded.message_id, type = excluded.type, handler = excluded.handler, policy = excluded.policy, error_class = excluded.error_class,
  reason = excluded.reason, stack = excluded.stack, code_version = excluded.code_version, frame = excluded.frame, fingerprint = excluded.fingerprint,
  attempts = (old.attempts::jsonb || excluded.attempts::jsonb)::json, last_failed_at = excluded.last_failed_at,
  retry_count = old.retry_count + excluded.retry_count, ended_at = null, ended_by = null, end_reason = null, archived_at = null`,
    params: [
      partition.group,
      partition.topic,
      partition.topicId,
      partition.partition,
      record.offset,
      record.timestamp,
      record.key,
      record.value,
      headersToJson(record.headers),
      orNull(letter.messageId),
      orNull(letter.type),
      letter.handler,
      letter.policy,
      storableText(letter.errorClass),
      storableText(letter.reason),
      orNull(letter.stack),
      attemptsToJson(attempts),
      letter.codeVersion,
      orNull(letter.frame),
      letter.fingerprint,
      Math.floor(attempts[0]?.at ?? now),
      Math.floor(attempts.at(-1)?.at ?? now),
      letter.retryCount ?? attempts.length,
    ],
  }
}

function orNull(text: string | null): string | null {
  return text === null ? null : storableText(text)
}
