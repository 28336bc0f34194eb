import type { DeadLetter, PartitionRef } from '../../../consumer/port.ts'
import type { Statement } from '../statement-run.ts'
import { headersToJson, storableText } from './record-columns.ts'

/** Statements on `dead_letter`. `schema` is the quoted name everywhere. */

export function insertDeadLetter(schema: string, partition: PartitionRef, letter: DeadLetter): Statement {
  const { record } = letter
  return {
    text: `insert into ${schema}.dead_letter (group_name, topic, topic_id, partition, log_offset, log_time, key, value, headers,
  message_id, type, handler, policy, error_class, reason, stack, attempts, code_version)
values ($1, $2, $3, $4, $5, to_timestamp($6::bigint / 1000.0), $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
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
      JSON.stringify(letter.attempts.map(({ at, error }) => ({ at: new Date(at).toISOString(), error: storableText(error) }))),
      letter.codeVersion,
    ],
  }
}

function orNull(text: string | null): string | null {
  return text === null ? null : storableText(text)
}
