import { TidemarkError } from '../../../errors.ts'
import type { VersionRules } from '../../../inbox/version-outcome.ts'

/** The table of a version-aware update, by the names of its columns. */
export interface VersionTable {
  readonly name: readonly string[]
  readonly version: string
  readonly key: readonly string[]
  readonly set: readonly string[]
}

/** One row to write. */
export interface GivenRow {
  readonly version: bigint
  readonly row: { readonly key: Readonly<Record<string, unknown>>; readonly set: Readonly<Record<string, unknown>> }
}

/**
 * Locks the rows by key, compares, updates and inserts, in one statement. Values travel as one JSON text, and the table itself says what types they have. For each
 * row given: its place, a number that rows of one key share, the version that was stored, and whether somebody else made the row meanwhile.
 *
 * The lock returns the newest version of a row whoever we waited for, while everything else in the statement sees the one snapshot; so what is compared is what the
 * lock returned.
 */
export function updateVersionsStatement(
  table: VersionTable,
  { accept, insertAt }: VersionRules,
  rows: readonly GivenRow[],
): { readonly text: string; readonly params: readonly unknown[] } {
  const name = table.name.map(quotedName).join('.')
  const version = quotedName(table.version)
  const key = table.key.map(quotedName)
  const set = table.set.map(quotedName)
  const list = (columns: readonly string[], of: string): string => columns.map((column) => `${of}.${column}`).join(', ')
  const same = (a: string, b: string): string => key.map((column) => `${a}.${column} = ${b}.${column}`).join(' and ')
  const columns = [...key, version, ...set]
  // The first version that applies; above it, with 'next', those without a gap.
  const start = insertAt === null ? 'null::bigint' : `${insertAt - 1n}::bigint`
  const isDue =
    accept === 'newer'
      ? `(f.stored < g.${version} or (f.stored is null and ${insertAt === null ? 'false' : 'true'}))`
      : `g.${version} > coalesce(f.stored, ${start})`
  const text = `with given as (
  select r.*, dense_rank() over (order by ${list(key, 'r')}) as tidemark_row from json_populate_recordset(null::${name}, $1::text::json) with ordinality as r),
found as materialized (
  select ${list(key, 't')}, coalesce(t.${version}, 0)::bigint as stored from ${name} t
  where (${list(key, 't')}) in (select ${list(key, 'g')} from given g) order by ${list(key, 't')} for no key update of t),
due as (
  select g.*, f.stored, row_number() over (partition by g.tidemark_row order by g.${version}) as step
  from (select distinct on (tidemark_row, ${version}) * from given order by tidemark_row, ${version}, ordinality) g left join found f on ${same('f', 'g')}
  where ${isDue}),
last as (
  select distinct on (d.tidemark_row) ${list(columns, 'd')}, d.stored, d.tidemark_row from due d
  where ${accept === 'newer' ? 'true' : `d.${version} = coalesce(d.stored, ${start}) + d.step`} order by d.tidemark_row, d.${version} desc),
moved as (
  update ${name} t set ${[version, ...set].map((column) => `${column} = l.${column}`).join(', ')} from last l where l.stored is not null and ${same('t', 'l')} returning 1),
added as (
  ${insertAt === null ? `select null::bigint as tidemark_row where false` : insertOf(name, columns, key)})
select g.ordinality::int as place, g.tidemark_row::int as row_number, f.stored::text as stored,
  ${insertAt === null ? 'false' : `(f.stored is null and l.tidemark_row is not null and not exists (select from added a where ${same('a', 'g')}))`} as is_overtaken
from given g left join found f on ${same('f', 'g')} left join last l on l.tidemark_row = g.tidemark_row order by g.ordinality`
  const values = rows.map(({ row, version: value }) => ({ ...row.key, ...row.set, [table.version]: String(value) }))
  return { text, params: [JSON.stringify(values, asPostgresReads)] }
}

function insertOf(name: string, columns: readonly string[], key: readonly string[]): string {
  return `insert into ${name} (${columns.join(', ')}) select ${columns.map((column) => `l.${column}`).join(', ')} from last l where l.stored is null
  order by ${key.map((column) => `l.${column}`).join(', ')} on conflict (${key.join(', ')}) do nothing returning ${key.join(', ')}`
}

/** What JSON has no form for, as text that Postgres reads. */
function asPostgresReads(this: unknown, name: string, value: unknown): unknown {
  // A Buffer has been turned into an object when it arrives here.
  const original = (this as Record<string, unknown>)[name]
  if (original instanceof Uint8Array) return `\\x${Buffer.from(original).toString('hex')}`
  return typeof value === 'bigint' ? String(value) : value
}

/** Longest name of Postgres, in bytes. It cuts longer ones silently, which could make them another's. */
const longestName = 63

/** A name as it stands, safe in any statement. Throws `INPUT_INVALID` for what no name can be. */
export function quotedName(name: string): string {
  if (name !== '' && !name.includes('\0') && Buffer.byteLength(name) <= longestName) return `"${name.replaceAll('"', '""')}"`
  throw new TidemarkError(
    'INPUT_INVALID',
    `A table or column has a name of 1 to ${longestName} bytes; got ${JSON.stringify(name.slice(0, 80))}.`,
  )
}
