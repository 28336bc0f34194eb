import { afterAll, beforeAll, expect, test } from 'vitest'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { PostgresDeadLetterStore } from '../../src/drivers/postgres/index.ts'
import { migrate } from '../../src/drivers/postgres/migrations/migrate.ts'
import { testDatabase } from '../support/postgres.ts'
import { insertManyLetters, vacuumLetters } from './support/many-letters.ts'

const { connectionString } = await testDatabase('many')
const database = new PostgresDatabase({ connectionString: connectionString(), maxConnections: 2 })
afterAll(() => database.close())
const store = new PostgresDeadLetterStore({ database })

/** The budget of a list or of the groups, at 100,000 dead letters. */
const budgetMs = 200

beforeAll(async () => {
  await migrate(database, { set: 'service' })
  await insertManyLetters(database, 111_111)
  await vacuumLetters(database)
}, 60_000)

/** The best of some tries: the machine is shared with other tests, and what is asked is what the work takes. */
async function bestMs(work: () => Promise<unknown>): Promise<number> {
  let best = Number.POSITIVE_INFINITY
  for (let tries = 0; tries < 20 && best >= budgetMs; tries++) {
    const from = performance.now()
    await work()
    best = Math.min(best, performance.now() - from)
  }
  return best
}

test.each([
  ['the first page', () => store.list({})],
  [
    'the page in the middle',
    () => store.list({}, { after: `55555@${new Date(Date.now() - 55_555 * 6_000).toISOString().replace('T', ' ').replace('Z', '+00')}` }),
  ],
  ['a page of one group', () => store.list({ groups: ['group-1'], types: ['Type1'] })],
  ['a page of one kind', () => store.list({ fingerprints: ['1679091c5a880faf6fb5e6087eb1b2dc'] })],
  ['all groups', () => store.groups({})],
  ['what alerts look at', () => store.byGroup(new Date())],
])('at 100,000 dead letters %s comes within its budget', async (_what, work) => {
  expect(await bestMs(work)).toBeLessThan(budgetMs)
})

test('at 100,000 dead letters a search that finds nothing reads them all within a second', async () => {
  const from = performance.now()
  expect((await store.list({ text: 'nothing has this' })).letters).toEqual([])
  expect(performance.now() - from).toBeLessThan(1_000)
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
