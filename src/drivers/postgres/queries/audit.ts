import type { AuditEntry, AuditRecord } from '../../../operation/audit.ts'
import type { AuditFilter } from '../../../operation/port.ts'
import type { Row } from '../../../message/transaction.ts'
import type { Statement } from '../statement-run.ts'
import { storableText } from './record-columns.ts'

/** Statements on `audit_log`. `schema` is the quoted name everywhere. */

/** A line; best in the transaction that does what it says. */
export function insertAudit(schema: string, entry: AuditEntry): Statement {
  const { actor, verb, target, reason, origin, host, outcome, details } = entry
  return {
    text: `insert into ${schema}.audit_log (actor, roles, verb, target_type, target_id, reason, origin, host, outcome, details)
      values ($1, $2::text[], $3, $4, $5, $6, $7, $8, $9, $10)`,
    params: [
      storableText(actor.id),
      actor.roles.map(storableText),
      verb,
      target.type,
      target.id === null ? null : storableText(target.id),
      reason === null ? null : storableText(reason),
      origin,
      host,
      outcome,
      storableText(JSON.stringify(details)),
    ],
  }
}

/** Newest first. */
export function selectAudit(schema: string, filter: AuditFilter): Statement {
  return {
    text: `select * from ${schema}.audit_log where ($1::text is null or actor = $1) and ($2::text is null or verb = $2)
        and ($3::text is null or target_type = $3) and ($4::text is null or target_id = $4) and ($5::text is null or outcome = $5)
        and ($6::bigint is null or id < $6) and ($7::timestamptz is null or at >= $7) and ($8::timestamptz is null or at < $8)
        order by id desc limit $9`,
    params: [
      filter.actor ?? null,
      filter.verb ?? null,
      filter.target?.type ?? null,
      filter.target?.id ?? null,
      filter.outcome ?? null,
      filter.before ?? null,
      filter.from?.toISOString() ?? null,
      filter.to?.toISOString() ?? null,
      filter.limit ?? 100,
    ],
  }
}

export function auditRecord(row: Row): AuditRecord {
  return {
    id: Number(row['id']),
    at: row['at'] as Date,
    actor: { id: String(row['actor']), roles: row['roles'] as string[] },
    verb: String(row['verb']),
    target: { type: String(row['target_type']), id: row['target_id'] as string | null },
    reason: row['reason'] as string | null,
    origin: row['origin'] as AuditRecord['origin'],
    host: String(row['host']),
    outcome: row['outcome'] as AuditRecord['outcome'],
    details: row['details'] as AuditRecord['details'],
  }
}
