import { TidemarkError } from '../../../errors.ts'
import type { PostgresDatabase } from '../database.ts'
import type { Session } from '../session.ts'
import { type Migration, type MigrationSet, migrations } from './compiled.ts'
import { defaultSchema, quotedSchema } from './schema-name.ts'

/** Which tables, and where. */
export interface MigrationOptions {
  /** `service`: outbox, inbox and positions; `log`: the Postgres broker. */
  readonly set: MigrationSet
  /** @default 'tidemark' */
  readonly schema?: string
  /** `false`: only check, as `requireSchema` does, for roles that may not migrate. @default true */
  readonly apply?: boolean
}

/** What a call changed. */
export interface MigrationReport {
  /** Versions applied by this call, in order. Empty when everything was there. */
  readonly applied: readonly number[]
  /** The schema's version afterwards; may be one above this process's own. */
  readonly version: number
}

interface Applied {
  readonly version: number
  readonly checksum: string
}

/**
 * Brings a schema to this process's version: each missing file in a transaction of its own, under an advisory lock, so that it is safe to call
 * twice, by several processes at once, and through a transaction pooler. A call that dies half-way leaves whole files applied.
 *
 * Rejects with `MIGRATION_CONFLICT` when an applied file differs from this version's, and with `SCHEMA_TOO_NEW` when the schema is more than
 * one version ahead. Needs the right to create a schema in the database.
 */
export async function migrate(target: PostgresDatabase | Session, options: MigrationOptions): Promise<MigrationReport> {
  if ('lease' in target) return target.use((session) => migrate(session, options))
  const { set, schema = defaultSchema } = options
  if (options.apply === false) return { applied: [], version: await requireSchema(target, options) }
  const applied: number[] = []
  let version = 0
  await inTransaction(target, (session) => prepare(session, set, schema))
  for (;;) {
    const step = await inTransaction(target, (session) => applyNext(session, set, schema))
    version = step.version
    if (step.applied === null) return { applied, version }
    applied.push(step.applied)
  }
}

/**
 * For processes without the right to migrate: rejects with `SCHEMA_MISSING` when a file of this version is not applied, and as `migrate` does
 * otherwise. Changes nothing. Returns the schema's version.
 */
export async function requireSchema(target: PostgresDatabase | Session, options: MigrationOptions): Promise<number> {
  const { set, schema = defaultSchema } = options
  const table = `${quotedSchema(schema)}.migration`
  const [found] = await target.query<{ found: boolean }>('select to_regclass($1) is not null as found', [table])
  const applied = found!.found ? await readApplied(target, set, schema) : []
  check(set, schema, applied)
  const missing = migrations[set].filter((known) => !applied.some((one) => one.version === known.version))
  if (missing.length === 0) return highest(applied)
  throw new TidemarkError(
    'SCHEMA_MISSING',
    `The schema "${schema}" lacks ${missing.length} of the ${set} migrations (from ${missing[0]!.version} on).`,
    {
      details: { set, schema, missing: missing.map(({ version }) => version) },
      remedy: 'Run: tidemark migrate',
    },
  )
}

/** Makes schema and table of applied files. Looks first: a role that may only use them must not need the right to create. */
async function prepare(session: Session, set: MigrationSet, schema: string): Promise<void> {
  await lock(session, schema)
  const quoted = quotedSchema(schema)
  const [found] = await session.query<{ found: boolean }>('select to_regclass($1) is not null as found', [`${quoted}.migration`])
  if (!found!.found) await session.script(bookkeeping(schema))
  check(set, schema, await readApplied(session, set, schema))
}

/** The tables every set needs, in SQL. */
export function bookkeeping(schema: string): string {
  const quoted = quotedSchema(schema)
  return `create schema if not exists ${quoted};
create table if not exists ${quoted}.migration (
  set text not null,
  version int not null,
  checksum text not null,
  applied_at timestamptz not null default now(),
  primary key (set, version)
);
`
}

async function applyNext(session: Session, set: MigrationSet, schema: string): Promise<{ applied: number | null; version: number }> {
  await lock(session, schema)
  const applied = await readApplied(session, set, schema)
  check(set, schema, applied)
  const next = migrations[set].find((known) => !applied.some((one) => one.version === known.version))
  if (next === undefined) return { applied: null, version: highest(applied) }
  await session.script(sqlOf(next, schema))
  await session.query(`insert into ${quotedSchema(schema)}.migration (set, version, checksum) values ($1, $2, $3)`, [
    set,
    next.version,
    next.checksum,
  ])
  return { applied: next.version, version: next.version }
}

/** A file's SQL for one schema. */
export function sqlOf(migration: Migration, schema: string): string {
  return migration.sql.replaceAll('{schema}', quotedSchema(schema))
}

/** Held to the end of the transaction, so that one process at a time looks and applies. */
async function lock(session: Session, schema: string): Promise<void> {
  await session.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`tidemark migrate ${schema}`])
}

function readApplied(target: PostgresDatabase | Session, set: MigrationSet, schema: string): Promise<Applied[]> {
  return target.query<Applied & Record<string, unknown>>(
    `select version, checksum from ${quotedSchema(schema)}.migration where set = $1 order by version`,
    [set],
  )
}

function check(set: MigrationSet, schema: string, applied: readonly Applied[]): void {
  for (const known of migrations[set]) {
    const there = applied.find((one) => one.version === known.version)
    if (there === undefined || there.checksum === known.checksum) continue
    throw new TidemarkError(
      'MIGRATION_CONFLICT',
      `Migration ${known.version} (${set}) of the schema "${schema}" was applied in another form.`,
      {
        details: { set, schema, version: known.version, applied: there.checksum, expected: known.checksum },
        remedy: 'Two builds of Tidemark differ in a file that must never change: use the one that made the schema, or another schema.',
      },
    )
  }
  const own = migrations[set].length
  // One version ahead is the rolling upgrade: changes first add, and take away only in the version after.
  if (highest(applied) <= own + 1) return
  throw new TidemarkError(
    'SCHEMA_TOO_NEW',
    `The schema "${schema}" is at ${set} version ${highest(applied)}; this process knows ${own} and works with ${own + 1}.`,
    {
      details: { set, schema, found: highest(applied), known: own },
      remedy: 'Upgrade this process.',
    },
  )
}

function highest(applied: readonly Applied[]): number {
  return applied.reduce((most, { version }) => Math.max(most, version), 0)
}

async function inTransaction<T>(session: Session, work: (session: Session) => Promise<T>): Promise<T> {
  await session.query('begin')
  try {
    const result = await work(session)
    await session.query('commit')
    return result
  } catch (error) {
    if (session.broken === null) await session.query('rollback').catch(() => undefined)
    throw error
  }
}
