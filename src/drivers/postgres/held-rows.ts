import type { Row } from '../../message/transaction.ts'
import type { OutboxRow } from '../../outbox/port.ts'

/** Splits a page's rows: those of parked keys, from the row on from which the key is held, and the others. */
export function holdingFilter(
  rows: readonly OutboxRow[],
  parked: readonly Row[],
): { readonly sent: readonly OutboxRow[]; readonly held: readonly OutboxRow[] } {
  if (parked.length === 0) return { sent: rows, held: [] }
  const from = new Map(parked.map((row) => [keyOf(row.aggregatetype, row.aggregateid), Number(row.from_seq)]))
  const isHeld = ({ seq, aggregateType, aggregateId }: OutboxRow): boolean =>
    seq >= (from.get(keyOf(aggregateType, aggregateId)) ?? Infinity)
  return { sent: rows.filter((row) => !isHeld(row)), held: rows.filter(isHeld) }
}

/** JSON keeps two keys apart whatever they contain. */
function keyOf(aggregateType: unknown, aggregateId: unknown): string {
  return JSON.stringify([aggregateType, aggregateId])
}
