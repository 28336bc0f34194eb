import type { Row } from '../message/transaction.ts'
import { Rows } from './difference.ts'

interface SnapshotOptions {
  readonly schemas?: readonly string[]
  readonly ignore?: readonly string[]
  readonly schema?: string
}

interface Queryable {
  query<R extends Row = Row>(text: string, params?: readonly unknown[]): Promise<R[]>
}

/** All rows of all tables of some schemas, by table, and the number of the last message in the outbox. Postgres only. */
export async function schemaSnapshot(
  on: Queryable,
  { schemas = ['public'], ignore = [], schema = 'tidemark' }: SnapshotOptions,
): Promise<Readonly<Record<string, unknown>>> {
  const tables = await on.query<{ name: string; plain: string }>(
    `select format('%I.%I', n.nspname, c.relname) as name, c.relname as plain from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = any($1::text[]) and c.relkind in ('r', 'p') and not c.relispartition order by 1`,
    [schemas],
  )
  const state: Record<string, unknown> = {}
  for (const { name, plain } of tables) {
    const left = ignore
      .filter((column) => !column.includes('.') || column.startsWith(`${plain}.`))
      .map((column) => column.split('.').at(-1)!)
    // As JSON, so that how the application reads columns does not matter.
    const rows = await on.query<{ row: string }>(`select (to_jsonb(t) - $1::text[])::text as row from ${name} t`, [left])
    state[name] = new Rows(rows.map(({ row }) => JSON.parse(row) as unknown))
  }
  const published = await lastPublished(on, schema)
  return published === null ? state : { ...state, 'messages published': published }
}

async function lastPublished(on: Queryable, schema: string): Promise<number | null> {
  const [row] = await on.query<{ n: string | null }>(
    `select case when to_regclass(format('%I.outbox', $1::text)) is not null
       then pg_sequence_last_value(pg_get_serial_sequence(format('%I.outbox', $1::text), 'seq'))::text end as n`,
    [schema],
  )
  return row === undefined ? null : Number(row.n ?? 0)
}
