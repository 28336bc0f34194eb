import type { Row } from '../../message/transaction.ts'

/** Splits a page's rows: those of parked keys, from the row on from which the key is held, and the others. */
export function holdingFilter(
  rows: readonly Row[],
  parked: readonly Row[],
): { readonly sent: readonly Row[]; readonly held: readonly Row[] } {
  if (parked.length === 0) return { sent: rows, held: [] }
  const from = new Map(parked.map((row) => [keyOf(row), Number(row.from_seq)]))
  const isHeld = (row: Row): boolean => Number(row.seq) >= (from.get(keyOf(row)) ?? Infinity)
  return { sent: rows.filter((row) => !isHeld(row)), held: rows.filter(isHeld) }
}

/** JSON keeps two keys apart whatever they contain. */
function keyOf({ aggregatetype, aggregateid }: Row): string {
  return JSON.stringify([aggregatetype, aggregateid])
}
