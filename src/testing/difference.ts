import { inspect, isDeepStrictEqual } from 'node:util'

/** One place where two values differ. `undefined`: there is nothing there. */
export interface Difference {
  readonly path: string
  readonly first: string | undefined
  readonly second: string | undefined
}

/** Rows of tables, compared as a set: by what they hold, not by their order. */
export class Rows {
  readonly rows: readonly string[]

  constructor(rows: readonly unknown[]) {
    this.rows = rows.map((row) => shown(row)).sort()
  }
}

/** Where two values differ, each place once. Empty: nowhere. */
export function difference(first: unknown, second: unknown, path = '(state)'): readonly Difference[] {
  if (first instanceof Rows && second instanceof Rows) return rowDifference(first.rows, second.rows, path)
  if (isDeepStrictEqual(first, second)) return []
  if (isRecord(first) && isRecord(second)) {
    const names = [...new Set([...Object.keys(first), ...Object.keys(second)])]
    const inside = names.flatMap((name) => difference(first[name], second[name], path === '(state)' ? name : `${path}.${name}`))
    if (inside.length > 0) return inside
  }
  return [{ path, first: first === undefined ? undefined : shown(first), second: second === undefined ? undefined : shown(second) }]
}

function rowDifference(first: readonly string[], second: readonly string[], path: string): readonly Difference[] {
  const lost = without(first, second).map((row) => ({ path, first: row, second: undefined }))
  const added = without(second, first).map((row) => ({ path, first: undefined, second: row }))
  return [...lost, ...added]
}

/** Of each row as often as it is more often in the one than in the other. */
function without(rows: readonly string[], others: readonly string[]): string[] {
  const left = new Map<string, number>()
  for (const row of others) left.set(row, (left.get(row) ?? 0) + 1)
  return rows.filter((row) => {
    const count = left.get(row) ?? 0
    if (count > 0) left.set(row, count - 1)
    return count === 0
  })
}

function shown(value: unknown): string {
  return inspect(value, { depth: 10, breakLength: Infinity, sorted: true, maxStringLength: 300 })
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date) && !(value instanceof Rows)
}
