import type { LetterContent } from '../../../dead-letter/port.ts'
import type { LetterEvent } from '../../../dead-letter/letter.ts'
import type { Statement } from '../statement-run.ts'
import { letterColumns } from './dead-letter-list.ts'
import { headersToJson, storableText } from './record-columns.ts'

/** Statements that change letters, by their lock. `schema` is the quoted name everywhere. */

export function lockLetter(schema: string, id: number): Statement {
  return { text: `select ${letterColumns} from ${schema}.dead_letter d where d.id = $1 for update`, params: [id] }
}

export function assignLetter(schema: string, id: number, assignee: string | null): Statement {
  return changed(schema, id, 'assignee = $2', assignee === null ? null : storableText(assignee))
}

export function archiveLetter(schema: string, id: number, archived: boolean): Statement {
  return changed(schema, id, 'archived_at = case when $2 then coalesce(d.archived_at, now()) end', archived)
}

export function discardLetter(schema: string, id: number, actor: string, reason: string | null): Statement {
  const by = storableText(actor)
  return changed(schema, id, `state = 'discarded', ended_at = now(), ended_by = $2, end_reason = $3`, by, reason && storableText(reason))
}

/** What stood there, before `editLetter`. */
export function keepBefore(schema: string, id: number, actor: string, reason: string | null): Statement {
  return {
    text: `insert into ${schema}.dead_letter_edit (letter_id, number, value, headers, actor, reason)
select d.id, d.edits + 1, d.value, d.headers, $2, $3 from ${schema}.dead_letter d where d.id = $1`,
    params: [id, storableText(actor), reason && storableText(reason)],
  }
}

export function editLetter(schema: string, id: number, { value, headers }: LetterContent): Statement {
  return changed(
    schema,
    id,
    'edits = d.edits + 1, value = case when $2 then $3::bytea else d.value end, headers = coalesce($4::json, d.headers)',
    value !== undefined,
    value ?? null,
    headers === undefined ? null : headersToJson(headers),
  )
}

export function noteEvents(
  schema: string,
  ids: readonly number[],
  actor: string,
  action: LetterEvent['action'],
  text: string | null,
): Statement {
  return {
    text: `insert into ${schema}.dead_letter_event (letter_id, actor, action, text) select unnest($1::bigint[]), $2, $3, $4`,
    params: [ids, storableText(actor), action, text && storableText(text)],
  }
}

function changed(schema: string, id: number, set: string, ...values: readonly unknown[]): Statement {
  return {
    text: `update ${schema}.dead_letter d set version = d.version + 1, ${set} where d.id = $1 returning ${letterColumns}`,
    params: [id, ...values],
  }
}
