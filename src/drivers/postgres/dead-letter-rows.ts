import { createHash } from 'node:crypto'
import type { Letter, LetterDetail, LetterEdit, LetterEvent, LetterGroup, LetterState } from '../../dead-letter/letter.ts'
import type { GroupLetters, LetterHeaders, LetterRef } from '../../dead-letter/port.ts'
import type { Row } from '../../message/transaction.ts'
import { attemptsFromJson, headersFromJson } from './queries/record-columns.ts'

/** A row of `letterColumns`. */
export function letterOf(row: Row): Letter {
  return {
    id: Number(row['id']),
    version: Number(row['version']),
    state: row['state'] as LetterState,
    group: String(row['group_name']),
    topic: String(row['topic']),
    topicId: String(row['topic_id']),
    partition: Number(row['partition']),
    offset: Number(row['log_offset']),
    key: row['key'] as Buffer | null,
    messageId: row['message_id'] as string | null,
    type: row['type'] as string | null,
    handler: row['handler'] as string | null,
    policy: row['policy'] as 'block' | 'skip',
    errorClass: String(row['error_class']),
    reason: String(row['reason']),
    fingerprint: String(row['fingerprint']),
    frame: row['frame'] as string | null,
    codeVersion: row['code_version'] as string | null,
    firstFailedAt: row['first_failed_at'] as Date,
    lastFailedAt: row['last_failed_at'] as Date,
    diedAt: row['died_at'] as Date,
    retryCount: Number(row['retry_count']),
    redrives: Number(row['redrives']),
    edits: Number(row['edits']),
    assignee: row['assignee'] as string | null,
    archivedAt: row['archived_at'] as Date | null,
    endedAt: row['ended_at'] as Date | null,
    endedBy: row['ended_by'] as string | null,
    endReason: row['end_reason'] as string | null,
  }
}

/** A row of `readLetter`, with those of its edits and events. */
export function letterDetailOf(row: Row, edits: readonly Row[], events: readonly Row[]): LetterDetail {
  const letter = letterOf(row)
  const { topic, partition, offset, key } = letter
  const timestamp = (row['log_time'] as Date).getTime()
  const value = row['value'] as Buffer | null
  return {
    ...letter,
    record: { topic, partition, offset, timestamp, key, value, headers: headersFromJson(String(row['headers'])) },
    stack: row['stack'] as string | null,
    attempts: attemptsFromJson(String(row['attempts'])),
    lineage: edits.map(editOf),
    history: events.map(eventOf),
  }
}

export function letterGroupOf(row: Row): LetterGroup {
  return {
    fingerprint: String(row['fingerprint']),
    group: String(row['group_name']),
    type: row['type'] as string | null,
    errorClass: String(row['error_class']),
    frame: row['frame'] as string | null,
    count: Number(row['count']),
    firstDiedAt: row['first'] as Date,
    lastDiedAt: row['last'] as Date,
    cameBack: Number(row['came_back']),
    example: { id: Number(row['id']), messageId: row['message_id'] as string | null, reason: String(row['reason']) },
  }
}

export function groupLettersOf(row: Row): GroupLetters {
  return {
    group: String(row['group_name']),
    count: Number(row['count']),
    recent: Number(row['recent']),
    oldest: row['oldest'] as Date,
    newest: row['newest'] as Date,
    kinds: row['kinds'] as string[],
    example: {
      id: Number(row['id']),
      messageId: row['message_id'] as string | null,
      errorClass: String(row['error_class']),
      type: row['type'] as string | null,
      fingerprint: String(row['fingerprint']),
    },
  }
}

/** A row of `lettersLoggedBefore`. */
export function letterHeadersOf(row: Row): LetterHeaders {
  return {
    id: Number(row['id']),
    record: {
      topic: String(row['topic']),
      partition: Number(row['partition']),
      offset: Number(row['log_offset']),
      timestamp: (row['log_time'] as Date).getTime(),
      key: row['key'] as Buffer | null,
      value: null,
      headers: headersFromJson(String(row['headers'])),
    },
  }
}

/** A row of a selection. Keys may be long, so the order goes by a hash. */
export function letterRefOf(row: Row): LetterRef {
  const id = Number(row['id'])
  const key = row['key'] as Buffer | null
  const partition = [row['group_name'], row['topic_id'], row['partition']]
  const stands = JSON.stringify([...partition, key === null ? id : key.toString('base64')])
  return {
    id,
    version: Number(row['version']),
    place: JSON.stringify(partition),
    order: createHash('sha256').update(stands).digest('base64url'),
  }
}

function editOf(row: Row): LetterEdit {
  return {
    number: Number(row['number']),
    before: { value: row['value'] as Buffer | null, headers: headersFromJson(String(row['headers'])) },
    actor: String(row['actor']),
    at: row['at'] as Date,
    reason: row['reason'] as string | null,
  }
}

function eventOf(row: Row): LetterEvent {
  return {
    at: row['at'] as Date,
    actor: String(row['actor']),
    action: row['action'] as LetterEvent['action'],
    text: row['text'] as string | null,
  }
}
