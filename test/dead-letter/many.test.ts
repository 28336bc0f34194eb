import { afterAll, beforeAll, expect, test } from 'vitest'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { PostgresDeadLetterStore } from '../../src/drivers/postgres/index.ts'
import { groupLetters, lettersByGroup, listLetters } from '../../src/drivers/postgres/queries/dead-letter-list.ts'
import type { Statement } from '../../src/drivers/postgres/statement-run.ts'
import { migrate } from '../../src/drivers/postgres/migrations/migrate.ts'
import { testDatabase } from '../support/postgres.ts'
import { insertManyLetters, vacuumLetters } from './support/many-letters.ts'

const { connectionString } = await testDatabase('many')
const database = new PostgresDatabase({ connectionString: connectionString(), maxConnections: 2 })
afterAll(() => database.close())
const store = new PostgresDeadLetterStore({ database })

beforeAll(async () => {
  await migrate(database, { set: 'service' })
  await insertManyLetters(database, 111_111)
  await vacuumLetters(database)
}, 60_000)

/** How many pages of the table a statement reads, at most: what it takes does not hang on how fast the machine is. The table has some 15,000. */
async function pagesRead({ text, params = [] }: Statement): Promise<number> {
  const [row] = await database.query<{ 'QUERY PLAN': readonly [{ readonly Plan: Record<string, number> }] }>(
    `explain (analyze, buffers, format json) ${text}`,
    params,
  )
  const plan = row!['QUERY PLAN'][0].Plan
  return plan['Shared Hit Blocks']! + plan['Shared Read Blocks']!
}

const middle = { diedAt: new Date(Date.now() - 55_555 * 6_000).toISOString(), id: 55_555 }

test.each([
  ['the first page', listLetters('tidemark', {}, 50, null), 200],
  ['the page in the middle', listLetters('tidemark', {}, 50, middle), 200],
  ['a page of one group', listLetters('tidemark', { groups: ['group-1'] }, 50, null), 500],
  ['all groups', groupLetters('tidemark', {}, 100), 5_000],
  ['what alerts look at', lettersByGroup('tidemark', new Date()), 5_000],
])('at 100,000 dead letters %s reads a small part of the table', async (_what, statement, most) => {
  expect(await pagesRead(statement)).toBeLessThan(most)
})

test('at 100,000 dead letters a selection has each of them, and holds a page at a time', async () => {
  let count = 0
  let largest = 0
  for await (const page of store.select({}, 500)) {
    count += page.length
    largest = Math.max(largest, page.length)
  }
  expect([count, largest]).toEqual([100_000, 500])
  expect(await store.count({})).toMatchObject({ count: 100_000 })
})

test('a selection is of one moment, whatever happens to the letters meanwhile', async () => {
  const filter = { groups: ['group-3'] }
  const { count } = await store.count(filter)
  let seen = 0
  for await (const page of store.select(filter, 1_000)) {
    if (seen === 0) await database.query(`update tidemark.dead_letter set state = 'discarded' where group_name = 'group-3'`)
    seen += page.length
  }
  expect(seen).toBe(count)
  expect(await store.count(filter)).toMatchObject({ count: 0 })
})
