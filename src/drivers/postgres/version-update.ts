import { TidemarkError } from '../../errors.ts'
import { type AcceptedVersions, type VersionResult, type VersionRules, versionOutcomes } from '../../inbox/version-outcome.ts'
import type { Transaction } from '../../message/transaction.ts'
import { type VersionTable, updateVersionsStatement } from './queries/version-update.ts'

export interface VersionUpdateOptions {
  /** `'orders'`, or `['sales', 'orders']` with its schema. Quoted as it stands, so in the case it was made with. */
  readonly table: string | readonly [schema: string, table: string]
  /** Holds the version: any whole-number type. A row that has none there is at 0. @default 'version' */
  readonly versionColumn?: string
  /** @default 'next' */
  readonly accept?: AcceptedVersions
  /**
   * Where an earlier version is missing. `'report'`: the outcome says it. `'insert'`: makes the row where there is none, which needs a unique index on the key; a gap
   * is reported. `'throw'`: rejects with `VERSION_MISSING`, so that the message is tried again when the
   * earlier one may have come, by another topic: one of the same key and topic would queue behind it. @default 'report'
   */
  readonly onMissing?: 'report' | 'insert' | 'throw'
  /** The version that makes a row, where `accept` is `'next'`. @default 1 */
  readonly firstVersion?: number | bigint
}

export interface VersionedRow {
  /** The columns that say which row, with their values. */
  readonly key: Readonly<Record<string, unknown>>
  /** Of the row after this update: `message.aggregateVersion`. */
  readonly version: number | bigint
  /** Columns and their new values. Anything that JSON takes, dates, bigints and bytes. Timestamps without an offset are read in the session's time zone. */
  readonly set: Readonly<Record<string, unknown>>
}

/**
 * Updates a row if this is its next version, or a newer one, and says what became of it. One statement, in which the row is locked before it is compared, so
 * right beside any number of others; where two make the same row at once, the second one asks again. Works with the `query` of any transaction; outside
 * of one it is right, too.
 *
 * ```ts
 * const { outcome } = await updateVersion(tx, {
 *   table: 'orders', key: { id: data.orderId }, version: aggregateVersion!, set: { status: data.status },
 * })
 * ```
 *
 * Rejects with `VERSION_MISSING` (see `onMissing`), and with `INPUT_INVALID` for names and versions that cannot be, and for a table that takes no row.
 */
export async function updateVersion(tx: Pick<Transaction, 'query'>, update: VersionedRow & VersionUpdateOptions): Promise<VersionResult> {
  const { key, version, set, ...options } = update
  const [result] = await updateVersions(tx, { ...options, rows: [{ key, version, set }] })
  return result!
}

/**
 * The same for many rows in one statement, for batch handlers. All rows have the same columns. Several versions of one row are taken from the smallest up, and
 * the row gets the columns of the last one that applies: with `accept: 'newer'`, events should carry the whole state. Results are in the order of the rows.
 * Rows are locked in the order of their keys.
 */
export async function updateVersions(
  tx: Pick<Transaction, 'query'>,
  { rows, ...options }: VersionUpdateOptions & { readonly rows: readonly VersionedRow[] },
): Promise<readonly VersionResult[]> {
  if (rows.length === 0) return []
  const { accept = 'next', onMissing = 'report', firstVersion = 1 } = options
  const rules: VersionRules = { accept, insertAt: onMissing === 'insert' ? whole(firstVersion) : null }
  const table = tableOf(options, rows)
  const results: VersionResult[] = []
  let left = rows.map((row, place) => ({ row, place, version: whole(row.version) }))
  for (let look = 1; left.length > 0; look++) {
    if (look > mostLooks) throw neverFound(table)
    const { text, params } = updateVersionsStatement(table, rules, left)
    const found = await tx.query(text, params)
    // Rows that somebody else made between our look and our insert are looked at again; what they got here is nothing.
    const again = new Set<number>()
    for (const group of groups(found)) {
      const members = group.places.map((place) => left[place]!)
      if (group.isOvertaken) members.forEach(({ place }) => again.add(place))
      else
        versionOutcomes(
          members.map(({ version }) => version),
          group.stored,
          rules,
        ).forEach((result, i) => (results[members[i]!.place] = result))
    }
    left = left.filter(({ place }) => again.has(place))
  }
  const missing = results.findIndex(({ outcome }) => outcome === 'missing')
  if (onMissing === 'throw' && missing >= 0) throw versionMissing(table, rows[missing]!, results[missing]!)
  return results
}

/** Who was overtaken by the maker of a row finds the row at the second look, unless it was removed again. */
const mostLooks = 10

interface Group {
  readonly places: number[]
  readonly stored: bigint | null
  readonly isOvertaken: boolean
}

/** What the statement says, by row of the table. */
function groups(found: readonly Readonly<Record<string, unknown>>[]): Iterable<Group> {
  const byRow = new Map<number, Group>()
  for (const { place, row_number: row, stored, is_overtaken: isOvertaken } of found) {
    const group = byRow.get(Number(row)) ?? {
      places: [],
      stored: stored === null ? null : BigInt(String(stored)),
      isOvertaken: isOvertaken === true,
    }
    group.places.push(Number(place) - 1)
    byRow.set(Number(row), group)
  }
  for (const group of byRow.values()) group.places.sort((a, b) => a - b)
  return byRow.values()
}

function tableOf({ table, versionColumn = 'version' }: VersionUpdateOptions, rows: readonly VersionedRow[]): VersionTable {
  const key = Object.keys(rows[0]!.key)
  const set = Object.keys(rows[0]!.set)
  if (key.length === 0) throw new TidemarkError('INPUT_INVALID', 'updateVersion takes at least one column in `key`; got none.')
  const all = [...key, ...set, versionColumn]
  if (new Set(all).size < all.length)
    throw new TidemarkError('INPUT_INVALID', `A column is named twice among key, set and version: ${all.join(', ')}.`)
  for (const row of rows) {
    const same = sameNames(Object.keys(row.key), key) && sameNames(Object.keys(row.set), set)
    if (!same)
      throw new TidemarkError('INPUT_INVALID', 'All rows of updateVersions have the same columns in `key` and in `set`; these differ.')
  }
  return { name: typeof table === 'string' ? [table] : table, version: versionColumn, key, set }
}

function sameNames(names: readonly string[], wanted: readonly string[]): boolean {
  return names.length === wanted.length && wanted.every((name) => names.includes(name))
}

const largest = 2n ** 63n - 1n

function whole(version: number | bigint): bigint {
  if (typeof version === 'bigint' ? version >= 0n && version <= largest : Number.isSafeInteger(version) && version >= 0)
    return BigInt(version)
  throw new TidemarkError('INPUT_INVALID', `A version is a whole number from 0 on; got ${String(version)}.`, {
    remedy: 'Does the publisher set aggregateVersion?',
  })
}

function neverFound({ name }: VersionTable): TidemarkError {
  return new TidemarkError('INPUT_INVALID', `A row of ${name.join('.')} could neither be made nor found, ${mostLooks} times.`, {
    details: { table: name.join('.') },
    remedy: 'Does a trigger or a row-level policy of the table keep inserts away?',
  })
}

function versionMissing({ name }: VersionTable, { version }: VersionedRow, { stored }: VersionResult): TidemarkError {
  const found = stored === null ? 'there is no row' : `the row has version ${stored}`
  return new TidemarkError('VERSION_MISSING', `Version ${version} cannot be applied to ${name.join('.')}: ${found}.`, {
    details: { table: name.join('.'), version: String(version), stored: stored === null ? null : String(stored) },
    remedy: 'Try again when the earlier versions have been applied.',
  })
}
