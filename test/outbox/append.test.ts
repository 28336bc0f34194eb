import postgres from 'postgres'
import pg from 'pg'
import { beforeEach, describe, expect, test } from 'vitest'
import { appendStatements } from '../../src/drivers/postgres/queries/outbox.ts'
import { pgTransaction, postgresJsTransaction } from '../../src/drivers/postgres/foreign-transactions.ts'
import { commit } from '../../src/drivers/postgres/database.ts'
import { PostgresOutboxStore } from '../../src/drivers/postgres/postgres-outbox-store.ts'
import { message, outboxDatabase } from './support/outbox-database.ts'
import { until } from '../support/until.ts'

const { url, database, store, publish, reset } = await outboxDatabase('append')

beforeEach(() => reset())

const awkward = message(`k"ey'{},\\ \u{1f600}`, 1, {
  headers: { 'x-note': 'quo"te \\ back', ce_source: '/shop' },
  payload: Buffer.from([0, 1, 92, 255, 34]),
})

async function stored() {
  return database.query('select seq, id, aggregatetype, aggregateid, type, payload, headers from tidemark.outbox order by seq')
}

function asStored({ id, aggregateType, aggregateId, type, payload, headers }: typeof awkward) {
  return expect.objectContaining({ id, aggregatetype: aggregateType, aggregateid: aggregateId, type, payload, headers })
}

test('one message and many are stored as they were given, in the given order', async () => {
  const many = Array.from({ length: 2_500 }, (_, i) => message(`k${i % 7}`, i))
  await publish(awkward)
  await publish(awkward, ...many, awkward)
  expect((await stored()).map(({ id }) => id)).toEqual([awkward, awkward, ...many, awkward].map(({ id }) => id))
  expect((await stored()).slice(0, 2)).toEqual([asStored(awkward), asStored(awkward)])
})

test('an append of nothing does nothing', async () => {
  await publish()
  expect(await stored()).toEqual([])
})

describe('in the transaction of another client', () => {
  test('of pg, messages come and go with it', async () => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    await client.query('begin')
    await store.append(pgTransaction(client), [awkward, message('b', 1)])
    await client.query('rollback')
    await client.query('begin')
    await store.append(pgTransaction(client), [awkward])
    await store.append(pgTransaction(client), [message('a', 1), message('b', 1)])
    await client.query('commit')
    await client.end()
    expect(await stored()).toEqual([
      asStored(awkward),
      expect.objectContaining({ aggregateid: 'a' }),
      expect.objectContaining({ aggregateid: 'b' }),
    ])
  })

  test.each([true, false])('of postgres.js, messages come and go with it (fetch_types: %s)', async (fetchTypes) => {
    const sql = postgres(url, { max: 1, fetch_types: fetchTypes })
    await sql
      .begin(async (tx) => {
        await store.append(postgresJsTransaction(tx), [awkward, message('b', 1)])
        throw new Error('no')
      })
      .catch((error: Error) => expect(error.message).toBe('no'))
    await sql.begin(async (tx) => {
      await store.append(postgresJsTransaction(tx), [awkward])
      await store.append(postgresJsTransaction(tx), [awkward, message('b', 1)])
    })
    await sql.end()
    expect(await stored()).toEqual([asStored(awkward), asStored(awkward), expect.objectContaining({ aggregateid: 'b' })])
  })

  test('a pool, or a sql outside a transaction, is refused', async () => {
    const pool = new pg.Pool({ connectionString: url })
    expect(() => pgTransaction(pool)).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }))
    await pool.end()
    const sql = postgres(url, { max: 1 })
    expect(() => postgresJsTransaction(sql as never)).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }))
    await sql.end()
  })
})

describe('the locks of keys', () => {
  async function locks(): Promise<number> {
    const [row] = await database.query<{
      count: number
    }>(`select count(*)::int as count from pg_locks where locktype = 'advisory' and classid = ${0x74696465}
      and database = (select oid from pg_database where datname = current_database())`)
    return row!.count
  }

  test('of many messages of one key are taken before the numbers are drawn, by the plan of the one statement', async () => {
    const [statement] = appendStatements('tidemark', [message('a', 1), message('a', 2)])
    const text = statement!.text.replaceAll(/\$\d/g, 'null')
    const plan = (await database.query(`explain (costs off, verbose) ${text}`)).map((row) => String(row['QUERY PLAN'])).join('\n')
    // Number and xid are computed for each row that comes out of the join with the locking CTE, so after the lock.
    expect(plan).toMatch(/Nested Loop\n\s+Output: pg_current_xact_id\(\), nextval.*\n\s+->\s+CTE Scan on locked/)
    expect(plan).not.toMatch(/One-Time Filter/)
  })

  test("a second writer of a key waits for the first one's end, and its numbers are above", async () => {
    const first = await database.lease()
    await first.query('begin')
    await store.append(pgTransaction(first.client), [message('a', 1)])
    const second = publish(message('b', 1), message('a', 2))
    await until(
      'the second waits',
      async () => (await database.query(`select from pg_locks where locktype = 'advisory' and not granted`)).length === 1,
    )
    await first.query('commit')
    first.release()
    await second
    expect((await stored()).filter(({ aggregateid }) => aggregateid === 'a').map(({ payload }) => String(payload))).toEqual([
      expect.stringContaining('"version":1'),
      expect.stringContaining('"version":2'),
    ])
  })

  test('are not taken where the caller states that it holds the row', async () => {
    await database.transaction(async (tx) => {
      await store.append(tx, [message('a', 1)], { keyLocked: true })
      await store.append(tx, [message('a', 2), message('b', 1)], { keyLocked: true })
      expect(await locks()).toBe(0)
    })
    expect(await stored()).toHaveLength(3)
  })

  test('are at most 1,024, however many keys, and writers of many keys never deadlock', { timeout: 60_000 }, async () => {
    const shuffled = (): ReturnType<typeof message>[] =>
      Array.from({ length: 300 }, (_, i) => message(`k${i}`, 1)).sort(() => Math.random() - 0.5)
    await Promise.all(
      Array.from({ length: 16 }, async () => {
        for (let i = 0; i < 5; i++) await publish(...shuffled())
      }),
    )
    expect(await stored()).toHaveLength(16 * 5 * 300)
  })

  test('100,000 keys go through one transaction in chunks', { timeout: 120_000 }, async () => {
    const messages = Array.from({ length: 100_000 }, (_, i) => message(`key-${i}`, 1))
    await database.transaction(async (tx) => {
      await store.append(tx, messages)
      expect(await locks()).toBeLessThanOrEqual(1_024)
    })
    const [row] = await database.query('select count(*)::int as count, count(distinct aggregateid)::int as keys from tidemark.outbox')
    expect(row).toEqual({ count: 100_000, keys: 100_000 })
    expect(appendStatements('tidemark', messages).length).toBeGreaterThan(100)
  })
})

test('statements for the end of a transaction go with its commit', async () => {
  await database.use(async (session) => {
    await session.query('begin')
    await commit(session, appendStatements('tidemark', [message('a', 1), message('b', 1)]))
  })
  expect(await stored()).toHaveLength(2)
})

test('a full outbox says what is missing', async () => {
  await database.query(`select setval('tidemark.outbox_seq_seq', 900000000)`)
  await expect(publish(message('a', 1))).rejects.toMatchObject({ code: 'OUTBOX_EXHAUSTED' })
  await database.query(`select setval('tidemark.outbox_seq_seq', 500000)`)
})

test('a publisher needs the printed rights and no more', async () => {
  const { grants } = await import('../../src/drivers/postgres/migrations/grants.ts')
  const role = `publisher_${process.pid}`
  await database.query(`create role ${role} nologin`)
  try {
    for (const line of grants('service', 'tidemark').filter((text) => text.endsWith('to publisher;'))) {
      await database.query(line.replace('to publisher;', `to ${role}`))
    }
    await database.transaction(async (tx) => {
      await tx.query(`set local role ${role}`)
      await new PostgresOutboxStore({ database }).append(tx, [message('a', 1), message('b', 1)])
    })
    const overreach = database.transaction(async (tx) => {
      await tx.query(`set local role ${role}`)
      await tx.query(
        `insert into tidemark.outbox (xid, id, aggregatetype, aggregateid, type, payload) values ('3', gen_random_uuid(), 'a', 'b', 'c', '')`,
      )
    })
    await expect(overreach).rejects.toThrow('permission denied')
  } finally {
    await database.query(`drop owned by ${role}`)
    await database.query(`drop role ${role}`)
  }
  expect(await stored()).toHaveLength(2)
})
