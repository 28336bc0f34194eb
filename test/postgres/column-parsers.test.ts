import pg from 'pg'
import { afterAll, expect, test } from 'vitest'
import { z } from 'zod'
import { PostgresOutboxOperations } from '../../src/drivers/postgres/postgres-outbox-operations.ts'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { event, service } from '../../src/index.ts'
import { postgres, postgresBroker } from '../../src/drivers/postgres/index.ts'
import { testDatabase } from '../support/postgres.ts'

// What many applications do: times and JSON as text, large numbers as bigint.
const { INT8, TIMESTAMPTZ, JSON: JSON_, JSONB } = pg.types.builtins
const customs: readonly (readonly [number, (text: string) => unknown])[] = [
  [INT8, BigInt],
  [TIMESTAMPTZ, (text) => `at ${text}`],
  [JSON_, (text) => text],
  [JSONB, (text) => text],
]
const former = customs.map(([type]) => [type, pg.types.getTypeParser(type, 'text')] as const)
for (const [type, parse] of customs) pg.types.setTypeParser(type, parse)
afterAll(() => former.forEach(([type, parse]) => pg.types.setTypeParser(type, parse)))

const database = await testDatabase('column_parsers')
const log = await testDatabase('column_parsers_log')
const Placed = event('Placed', { aggregate: 'order', key: ({ id }) => id, schema: z.object({ id: z.string(), n: z.number() }) })

/** Ends it after whatever was declared later. */
function closing<T extends { close(): Promise<void> }>(one: T): { readonly one: T } & AsyncDisposable {
  return { one, [Symbol.asyncDispose]: () => one.close() }
}

test("Tidemark's own statements do not mind how an application reads columns, and the application's obey it", async () => {
  const connectionString = database.connectionString()
  await using broker = closing(postgresBroker({ connectionString: log.connectionString() }))
  await using shop = service('shop', {
    database: postgres({ connectionString }),
    broker: broker.one,
    consumer: { retry: { maxAttempts: 1 }, deadLetter: 'skip' },
  })
  await shop.query('create table effect (id text, seen int8)')
  const seen = new Map<number, unknown>()
  const time = new Date('2026-01-02T03:04:05.678Z')
  shop.consume(Placed, async ({ data, time, headers }, { tx }) => {
    if (data.n === 2) throw new RangeError('not this one')
    seen.set(data.n, { time, headers })
    const [row] = await tx.query('insert into effect values ($1, $2) returning seen', [data.id, data.n])
    expect(row).toEqual({ seen: BigInt(data.n) })
  })
  await shop.start()
  await shop.transaction(async (tx) => {
    for (const n of [1, 2, 3]) await shop.publish(tx, Placed, { id: 'k', n }, { time, headers: { from: 'here' } })
    expect(await tx.query(`select 7::int8 as n, '{"a":1}'::jsonb as j`)).toEqual([{ n: 7n, j: '{"a": 1}' }])
  })
  await shop.settled()
  expect(await shop.query('select seen from effect order by seen')).toEqual([{ seen: 1n }, { seen: 3n }])
  expect(seen).toEqual(new Map([1, 3].map((n) => [n, { time, headers: { from: 'here' } }])))
  expect(await shop.query('select reason from tidemark.dead_letter')).toEqual([{ reason: expect.stringContaining('not this one') }])
  const own = new PostgresDatabase({ connectionString })
  expect(await new PostgresOutboxOperations({ database: own }).status()).toBeDefined()
  await own.close()
})

test('a client with types of its own reads the columns of its statements by them', async () => {
  const types = { getTypeParser: (type: number) => (text: string) => `${type}:${text}` } as pg.CustomTypesConfig
  const pool = database.pool({ max: 4, types })
  await using shop = service('own-types', {
    database: postgres({ pool }),
    broker: postgresBroker({ connectionString: log.connectionString() }),
    relay: false,
  })
  expect(await shop.query('select 7::int4 as n')).toEqual([{ n: '23:7' }])
  await shop.transaction(async (tx) => expect(await tx.query('select true as b')).toEqual([{ b: '16:t' }]))
})
