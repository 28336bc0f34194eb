import type { Letter, LetterDetail, LetterEdit, LetterEvent } from '../../dead-letter/letter.ts'
import type { LogRecord } from '../../message/port.ts'
import type { MemoryConsumerTables, MemoryDeadLetter } from './memory-consumer-tables.ts'

/** What has happened to a letter since it died. */
export interface LetterLife extends Pick<
  Letter,
  'version' | 'state' | 'redrives' | 'assignee' | 'archivedAt' | 'endedAt' | 'endedBy' | 'endReason'
> {
  /** As it stands after the last edit; `null`: as it came. */
  readonly edited: LogRecord | null
  readonly lineage: readonly LetterEdit[]
  readonly history: readonly LetterEvent[]
}

export const newLife: LetterLife = {
  version: 1,
  state: 'dead',
  redrives: 0,
  assignee: null,
  archivedAt: null,
  endedAt: null,
  endedBy: null,
  endReason: null,
  edited: null,
  lineage: [],
  history: [],
}

/** Letters have the numbers in which they died, from 1 on. */
export function letterById(tables: MemoryConsumerTables, id: number): LetterDetail | null {
  const letter = tables.deadLetters[id - 1]
  return letter === undefined ? null : detailOf(letter, id, tables.letterLives.get(id) ?? newLife)
}

export function allLetters(tables: MemoryConsumerTables): LetterDetail[] {
  return tables.deadLetters.map((letter, index) => detailOf(letter, index + 1, tables.letterLives.get(index + 1) ?? newLife))
}

function detailOf(letter: MemoryDeadLetter, id: number, life: LetterLife): LetterDetail {
  const { partition: place, record, attempts } = letter
  const at = (index: number): Date => new Date(attempts.at(index)?.at ?? record.timestamp)
  const { edited, lineage, ...changed } = life
  return {
    ...changed,
    id,
    group: place.group,
    topic: place.topic,
    topicId: place.topicId,
    partition: place.partition,
    offset: record.offset,
    key: record.key,
    messageId: letter.messageId,
    type: letter.type,
    handler: letter.handler,
    policy: letter.policy,
    errorClass: letter.errorClass,
    reason: letter.reason,
    fingerprint: letter.fingerprint,
    frame: letter.frame,
    codeVersion: letter.codeVersion,
    firstFailedAt: at(0),
    lastFailedAt: at(-1),
    diedAt: at(-1),
    retryCount: attempts.length,
    edits: lineage.length,
    record: edited ?? record,
    stack: letter.stack,
    attempts,
    lineage,
  }
}
