import type { Row } from '../../message/transaction.ts'
import type { OutboxRow } from '../../outbox/port.ts'
import { pageBytes } from './queries/relay.ts'

/** A row of the outbox as `pg` returns it. Numbers stay exact up to 2^53: at 100,000 messages a second that is 2,800 years. */
export function outboxRow(row: Row): OutboxRow {
  return {
    seq: Number(row.seq),
    id: row.id as string,
    aggregateType: row.aggregatetype as string,
    aggregateId: row.aggregateid as string,
    type: row.type as string,
    payload: row.payload as Buffer,
    headers: row.headers as Readonly<Record<string, string>>,
    createdAt: row.created_at as Date,
  }
}

/** Was the page cut by rows or bytes, so that there may be more? */
export function isFull(rows: readonly Row[], limit: number): boolean {
  return rows.length === limit || Number(rows.at(-1)?.bytes ?? 0) >= pageBytes
}
