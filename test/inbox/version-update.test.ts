import postgresJs from 'postgres'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { pgTransaction, postgresJsTransaction } from '../../src/drivers/postgres/foreign-transactions.ts'
import { PostgresDatabase, updateVersion, updateVersions } from '../../src/drivers/postgres/index.ts'
import type { VersionOutcome } from '../../src/inbox/index.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const { connectionString, pool } = await testDatabase('version_update')
const database = new PostgresDatabase({ connectionString: connectionString(), maxConnections: 6 })
afterAll(() => database.close())
const clients = pool({ max: 2 })

beforeEach(() =>
  database.use((session) =>
    session.script(`drop table if exists orders; create table orders (id text primary key, status text, version bigint);
      insert into orders values ('o-1', 'placed', 1)`),
  ),
)

const orders = (): Promise<Record<string, unknown>[]> => database.query('select id, status, version::text from orders order by id')

/** What an event of this version would do to `o-1`. */
function paid(
  version: number | bigint,
  id = 'o-1',
): { table: string; key: { id: string }; version: number | bigint; set: { status: string } } {
  return { table: 'orders', key: { id }, version, set: { status: `v${version}` } }
}

test('the next version is applied, the same one is a duplicate, an older one stale, one after a gap missing', async () => {
  const outcomes: [VersionOutcome, bigint | null][] = []
  for (const version of [2, 2, 1, 4, 3]) {
    const { outcome, stored } = await updateVersion(database, paid(version))
    outcomes.push([outcome, stored])
  }
  expect(outcomes).toEqual([
    ['applied', 1n],
    ['duplicate', 2n],
    ['stale', 2n],
    ['missing', 2n],
    ['applied', 2n],
  ])
  expect(await orders()).toEqual([{ id: 'o-1', status: 'v3', version: '3' }])
})

test('any newer version is applied, by option', async () => {
  expect(await updateVersion(database, { ...paid(7), accept: 'newer' })).toEqual({ outcome: 'applied', stored: 1n })
  expect(await updateVersion(database, { ...paid(6), accept: 'newer' })).toEqual({ outcome: 'stale', stored: 7n })
})

test('a row that is not there is missing, is made by option, or lets the message wait', async () => {
  expect(await updateVersion(database, paid(1, 'o-2'))).toEqual({ outcome: 'missing', stored: null })
  expect(await updateVersion(database, { ...paid(2, 'o-2'), onMissing: 'insert' })).toEqual({ outcome: 'missing', stored: null })
  expect(await updateVersion(database, { ...paid(1, 'o-2'), onMissing: 'insert' })).toEqual({ outcome: 'applied', stored: null })
  expect(await updateVersion(database, { ...paid(9, 'o-3'), onMissing: 'insert', accept: 'newer' })).toMatchObject({ outcome: 'applied' })
  expect((await orders()).map(({ id, version }) => `${String(id)} ${String(version)}`)).toEqual(['o-1 1', 'o-2 1', 'o-3 9'])
  const waiting = updateVersion(database, { ...paid(5), onMissing: 'throw' })
  await expect(waiting).rejects.toMatchObject({ code: 'VERSION_MISSING', retryable: true, details: { version: '5', stored: '1' } })
})

test('versions above the exact numbers of JavaScript are told apart', async () => {
  const large = 9_007_199_254_740_993n
  await database.query('update orders set version = $1', [String(large - 1n)])
  expect(await updateVersion(database, paid(large))).toEqual({ outcome: 'applied', stored: large - 1n })
  expect(await updateVersion(database, paid(large - 1n))).toEqual({ outcome: 'stale', stored: large })
})

test('a row without a version is at 0', async () => {
  await database.query('update orders set version = null')
  expect(await updateVersion(database, paid(1))).toEqual({ outcome: 'applied', stored: 0n })
})

test('a batch is one statement: several versions of a row in a row, each outcome by itself', async () => {
  let statements = 0
  const counting = { query: (text: string, params?: readonly unknown[]) => (statements++, database.query(text, params)) } as typeof database
  const rows = [2, 3, 3, 5, 1].map((version) => paid(version)).concat([paid(1, 'o-2'), paid(2, 'o-2'), paid(4, 'o-3')])
  const results = await updateVersions(counting, { table: 'orders', onMissing: 'insert', rows })
  expect(results.map(({ outcome }) => outcome)).toEqual([
    'applied',
    'applied',
    'duplicate',
    'missing',
    'duplicate',
    'applied',
    'applied',
    'missing',
  ])
  expect(await orders()).toEqual([
    { id: 'o-1', status: 'v3', version: '3' },
    { id: 'o-2', status: 'v2', version: '2' },
  ])
  expect(statements).toBe(1)
  expect(await updateVersions(database, { table: 'orders', rows: [] })).toEqual([])
})

describe('names and values', () => {
  test('arrive as they are, whatever their form', async () => {
    await database.use((session) =>
      session.script(`create schema if not exists "My ""schema"; drop table if exists "My ""schema"."Odd; drop table orders --";
        create table "My ""schema"."Odd; drop table orders --" ("Key'1" uuid, "k 2" numeric, "sel""ect" jsonb, bytes bytea, at timestamptz, tags text[], n bigint,
          "Version" int, primary key ("Key'1", "k 2"))`),
    )
    const id = '00000000-0000-4000-8000-00000000000A'
    const at = new Date(1_750_000_000_123)
    const update = {
      table: ['My "schema', 'Odd; drop table orders --'],
      versionColumn: 'Version',
      key: { "Key'1": id, 'k 2': 1.5 },
      set: { 'sel"ect': { a: [1, null, "';"] }, bytes: Buffer.from([0, 255]), at, tags: ['x', 'y,"'], n: 9_007_199_254_740_993n },
      onMissing: 'insert',
    } as const
    expect((await updateVersion(database, { ...update, version: 1 })).outcome).toBe('applied')
    expect((await updateVersion(database, { ...update, version: 1, key: { "Key'1": id.toLowerCase(), 'k 2': '1.50' } })).outcome).toBe(
      'duplicate',
    )
    const [row] = await database.query(`select "sel""ect" as json, bytes, at, tags, n::text from "My ""schema"."Odd; drop table orders --"`)
    expect(row).toEqual({ json: { a: [1, null, "';"] }, bytes: Buffer.from([0, 255]), at, tags: ['x', 'y,"'], n: '9007199254740993' })
    expect(await orders()).toHaveLength(1)
  })

  test.each<[what: string, change: object]>([
    ['a name that is too long', { table: 'x'.repeat(64) }],
    ['an empty name', { key: { '': 1 } }],
    ['no key', { key: {} }],
    ['a column named twice', { set: { id: 'o-2' } }],
    ['no version', { version: undefined }],
    ['half a version', { version: 1.5 }],
  ])('that cannot be are refused: %s', async (_what, change) => {
    await expect(updateVersion(database, { ...paid(2), ...change })).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  })
})

test('a table that takes no row is refused, rather than asked for ever', async () => {
  await database.use((session) =>
    session.script(`create or replace function keep_away() returns trigger language plpgsql as 'begin return null; end';
      create trigger keep_away before insert on orders for each row execute function keep_away()`),
  )
  const update = updateVersion(database, { ...paid(1, 'o-2'), onMissing: 'insert' })
  await expect(update).rejects.toMatchObject({ code: 'INPUT_INVALID', details: { table: 'orders' } })
})

test('works in transactions of pg and of postgres.js', async () => {
  const client = await clients.connect()
  await client.query('begin')
  expect((await updateVersion(pgTransaction(client), paid(2))).outcome).toBe('applied')
  await client.query('rollback')
  client.release()
  const sql = postgresJs(connectionString(), { max: 1 })
  await sql.begin(async (tx) => {
    expect((await updateVersion(postgresJsTransaction(tx), paid(2))).outcome).toBe('applied')
  })
  await sql.end()
  expect(await orders()).toMatchObject([{ version: '2' }])
})

describe('beside others', () => {
  test('an update that waited for another one of the same row sees what it did', async () => {
    const results = await Promise.all(Array.from({ length: 20 }, (_, i) => updateVersion(database, paid(2 + (i % 2)))))
    const counts = results.map(({ outcome }) => outcome)
    expect(counts.filter((outcome) => outcome === 'applied').length).toBeLessThanOrEqual(2)
    expect(counts.filter((outcome) => outcome === 'applied').length).toBeGreaterThanOrEqual(1)
    for (const { outcome, stored } of results) if (outcome === 'duplicate') expect(stored! >= 2n).toBe(true)
  })

  test('an update that waits for a transaction compares with what that one leaves', async () => {
    const client = await clients.connect()
    await client.query('begin')
    await client.query(`update orders set version = 2 where id = 'o-1'`)
    const waiting = updateVersion(database, paid(2))
    await until('it waits', async () => (await clients.query(`select from pg_locks where not granted`)).rowCount === 1)
    await client.query('commit')
    client.release()
    expect(await waiting).toEqual({ outcome: 'duplicate', stored: 2n })
  })

  test('two that make the same row at once: one makes it, the other finds it', async () => {
    for (let n = 0; n < 20; n++) {
      const same = Array.from({ length: 4 }, () => updateVersion(database, { ...paid(1, `new-${n}`), onMissing: 'insert' }))
      const outcomes = (await Promise.all(same)).map(({ outcome }) => outcome).sort()
      expect(outcomes).toEqual(['applied', 'duplicate', 'duplicate', 'duplicate'])
    }
  })

  test('of batches in any order and number, each version is applied once', async () => {
    const keys = Array.from({ length: 30 }, (_, i) => `k-${i}`)
    const applied = new Map<string, number>()
    const run = async (reversed: boolean): Promise<void> => {
      for (let version = 1; version <= 5; version++) {
        const rows = (reversed ? [...keys].reverse() : keys).map((id) => paid(version, id))
        const results = await updateVersions(database, { table: 'orders', onMissing: 'insert', rows })
        results.forEach(({ outcome }, i) => {
          const name = `${rows[i]!.key.id} ${version}`
          if (outcome === 'applied') applied.set(name, (applied.get(name) ?? 0) + 1)
        })
      }
    }
    await Promise.all([run(false), run(true), run(false), run(true)])
    expect(applied.size).toBe(150)
    expect([...applied.values()].every((count) => count === 1)).toBe(true)
  })
})
