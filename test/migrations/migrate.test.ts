import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { migrations } from '../../src/drivers/postgres/migrations/compiled.ts'
import { migrate, requireSchema } from '../../src/drivers/postgres/migrations/migrate.ts'
import { migrationSql } from '../../src/drivers/postgres/migrations/migration-sql.ts'
import { startProgram } from '../support/child-program.ts'
import { testDatabase } from '../support/postgres.ts'

const { connectionString } = await testDatabase('migrations')
const url = connectionString()
const database = new PostgresDatabase({ connectionString: url, maxConnections: 5 })
afterAll(() => database.close())

const known = migrations.service.map(({ version }) => version)
const newest = known.at(-1)!

beforeEach(() => database.use((session) => session.script('drop schema if exists tidemark cascade; drop schema if exists other cascade')))

async function tables(schema: string): Promise<string[]> {
  const rows = await database.query<{ name: string }>(
    `select c.relkind::text || ' ' || c.relname as name from pg_class c where relnamespace = to_regnamespace($1) union all
     select 'f ' || proname from pg_proc where pronamespace = to_regnamespace($1) order by 1`,
    [schema],
  )
  return rows.map(({ name }) => name)
}

test('the compiled module equals the files', () => {
  const script = fileURLToPath(new URL('../../scripts/compile-migrations.mjs', import.meta.url))
  execFileSync(process.execPath, [script, '--check'], { stdio: 'pipe' })
})

test('the first call applies every file, the second one nothing', async () => {
  expect(await migrate(database, { set: 'service' })).toEqual({ applied: known, version: newest })
  expect(await migrate(database, { set: 'service' })).toEqual({ applied: [], version: newest })
})

test('a session can be given instead of a database, and is free afterwards', async () => {
  await database.use(async (session) => {
    await migrate(session, { set: 'service' })
    expect(await session.transactionStatus()).toBe('none')
  })
})

test('the sets are counted apart, and both fit into one schema', async () => {
  await migrate(database, { set: 'service' })
  expect(await migrate(database, { set: 'log' })).toEqual({
    applied: migrations.log.map(({ version }) => version),
    version: migrations.log.length,
  })
})

test('two processes at once apply every file once', { timeout: 60_000 }, async () => {
  const run = async (): Promise<number[]> => {
    const { code, stdout, stderr } = await startProgram(new URL('migrate-process.ts', import.meta.url), [url]).ended
    expect(code, stderr).toBe(0)
    return JSON.parse(stdout) as number[]
  }
  const applied = (await Promise.all([run(), run(), migrate(database, { set: 'service' }).then((report) => report.applied)])).flat()
  expect(applied.sort()).toEqual(known)
})

test('another schema can be named, and names that would need quotes are refused', async () => {
  await migrate(database, { set: 'service', schema: 'other' })
  expect(await tables('other')).toContain('p outbox')
  expect(await tables('tidemark')).toEqual([])
  for (const schema of ['Other', 'a"b', 'pg_x', '', 'a'.repeat(41)]) {
    await expect(migrate(database, { set: 'service', schema })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  }
})

test('a file that was applied in another form is a conflict', async () => {
  await migrate(database, { set: 'service' })
  await database.query(`update tidemark.migration set checksum = 'other' where set = 'service' and version = 1`)
  await expect(migrate(database, { set: 'service' })).rejects.toMatchObject({ code: 'MIGRATION_CONFLICT', details: { version: 1 } })
  await expect(requireSchema(database, { set: 'service' })).rejects.toMatchObject({ code: 'MIGRATION_CONFLICT' })
})

test('a schema one version newer is accepted, one beyond that is not', async () => {
  await migrate(database, { set: 'service' })
  await database.query(`insert into tidemark.migration (set, version, checksum) values ('service', $1, 'newer')`, [newest + 1])
  expect(await migrate(database, { set: 'service' })).toEqual({ applied: [], version: newest + 1 })
  expect(await requireSchema(database, { set: 'service' })).toBe(newest + 1)
  await database.query(`insert into tidemark.migration (set, version, checksum) values ('service', $1, 'newer')`, [newest + 2])
  await expect(migrate(database, { set: 'service' })).rejects.toMatchObject({ code: 'SCHEMA_TOO_NEW' })
  await expect(requireSchema(database, { set: 'service' })).rejects.toMatchObject({ code: 'SCHEMA_TOO_NEW' })
})

test('a process that may not migrate learns what is missing, and changes nothing', async () => {
  await expect(migrate(database, { set: 'service', apply: false })).rejects.toMatchObject({
    code: 'SCHEMA_MISSING',
    details: { missing: known },
  })
  expect(await tables('tidemark')).toEqual([])
  await migrate(database, { set: 'service' })
  expect(await migrate(database, { set: 'service', apply: false })).toEqual({ applied: [], version: newest })
})

test('a migration that fails leaves nothing behind', async () => {
  await database.use((session) => session.script(`create schema tidemark; create table tidemark.outbox_part (x int)`))
  await expect(migrate(database, { set: 'service' })).rejects.toThrow('already exists')
  expect(await tables('tidemark')).not.toContain('p outbox')
  await database.query('drop table tidemark.outbox_part')
  expect(await migrate(database, { set: 'service' })).toMatchObject({ applied: known })
})

test('the printed SQL makes the same tables, and a migration after it finds nothing to do', async () => {
  await migrate(database, { set: 'service' })
  await migrate(database, { set: 'log' })
  const applied = await tables('tidemark')
  await database.use((session) => session.script('drop schema tidemark cascade'))
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(migrationSql())
  await client.end()
  expect(await tables('tidemark')).toEqual(applied)
  expect(await migrate(database, { set: 'service' })).toMatchObject({ applied: [] })
  expect(await migrate(database, { set: 'log' })).toMatchObject({ applied: [] })
})
