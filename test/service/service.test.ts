import pg from 'pg'
import postgresJs from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Service, TidemarkError, event, service, settled } from 'tidemark'
import { pgTransaction, postgres, postgresBroker, postgresJsTransaction } from 'tidemark/postgres'
import { z } from 'zod'
import { testDatabase } from '../support/postgres.ts'

const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  key: (order) => order.orderId,
  schema: z.object({ orderId: z.string(), total: z.number().nonnegative() }),
})
const InvoiceSent = event('InvoiceSent', {
  aggregate: 'invoice',
  key: (invoice) => invoice.orderId,
  schema: z.object({ orderId: z.string() }),
})

const shopDatabase = await testDatabase('shop')
const billingDatabase = await testDatabase('billing')
const logDatabase = await testDatabase('log')

const log = postgresBroker({ connection: () => logDatabase.connection() })
/** What fails is tried again soon: there are tests that wait until nothing is. */
const soon = { retry: { baseDelayMs: 20, maxDelayMs: 100 }, retryPollMs: 20 }
const make = (name: string, database: typeof shopDatabase): Service =>
  service(name, { database: postgres({ connection: () => database.connection() }), broker: log, partitions: 4, consumer: soon })

let shop: Service
let billing: Service

beforeAll(async () => {
  shop = make('shop', shopDatabase)
  billing = make('billing', billingDatabase)
  await billing.query('create table invoices (order_id text primary key, total numeric not null, cause text, correlation text)')
  await shop.query('create table orders (order_id text primary key)')
  await shop.query('create table sent (order_id text primary key, cause text, correlation text)')
  billing.consume(OrderPlaced, async ({ id, correlationId, data }, { tx }) => {
    await Promise.all([
      tx.query('insert into invoices values ($1, $2, $3, $4)', [data.orderId, data.total, id, correlationId]),
      billing.publish(tx, InvoiceSent, { orderId: data.orderId }),
    ])
  })
  shop.consume(InvoiceSent, async ({ causationId, correlationId, data }, { tx }) => {
    await tx.query('insert into sent values ($1, $2, $3)', [data.orderId, causationId, correlationId])
  })
  await Promise.all([shop.start(), billing.start()])
})
afterAll(async () => {
  await Promise.all([shop.stop(), billing.stop()])
  await log.close()
})

async function totals(prefix: string): Promise<string[]> {
  const rows = await billing.query('select order_id, total from invoices where order_id like $1 order by order_id', [`${prefix}%`])
  return rows.map((row) => `${String(row['order_id'])}=${String(row['total'])}`)
}

describe('publishing', () => {
  test('reaches the handler of another service when the transaction commits', async () => {
    await shop.transaction(async (tx) => {
      await tx.query('insert into orders values ($1)', ['a-1'])
      await shop.publish(tx, OrderPlaced, { orderId: 'a-1', total: 5 })
    })
    await settled([shop, billing])
    expect(await totals('a-')).toEqual(['a-1=5'])
  })

  test('is undone when the transaction rolls back', async () => {
    const failing = shop.transaction(async (tx) => {
      await shop.publish(tx, OrderPlaced, { orderId: 'b-1', total: 5 })
      throw new Error('changed my mind')
    })
    await expect(failing).rejects.toThrow('changed my mind')
    await settled([shop, billing])
    expect(await totals('b-')).toEqual([])
  })

  test('data that fails its schema rolls the whole transaction back, also when the rejection is swallowed', async () => {
    for (const swallow of [false, true]) {
      const failing = shop.transaction(async (tx) => {
        await tx.query('insert into orders values ($1)', ['c-1'])
        const publishing = shop.publish(tx, OrderPlaced, { orderId: 'c-1', total: -1 })
        await (swallow ? publishing.catch(() => undefined) : publishing)
      })
      await expect(failing).rejects.toMatchObject({ code: 'EVENT_INVALID' })
    }
    expect(await shop.query('select from orders where order_id = $1', ['c-1'])).toEqual([])
  })

  test('works in the transaction of a pg client, and follows its rollback', async () => {
    const client = new pg.Client(shopDatabase.connection())
    await client.connect()
    for (const [orderId, end] of [
      ['d-1', 'commit'],
      ['d-2', 'rollback'],
    ] as const) {
      await client.query('begin')
      await shop.publish(pgTransaction(client), OrderPlaced, { orderId, total: 1 })
      await client.query(end)
    }
    await client.end()
    await settled([shop, billing])
    expect(await totals('d-')).toEqual(['d-1=1'])
  })

  test('works in a transaction of postgres.js, and follows its rollback', async () => {
    const sql = postgresJs(shopDatabase.connectionString(), { max: 1 })
    await sql.begin((tx) => shop.publish(postgresJsTransaction(tx), OrderPlaced, { orderId: 'e-1', total: 1 }))
    await sql
      .begin(async (tx) => {
        await shop.publish(postgresJsTransaction(tx), OrderPlaced, { orderId: 'e-2', total: 1 })
        throw new Error('no')
      })
      .catch(() => undefined)
    await sql.end()
    await settled([shop, billing])
    expect(await totals('e-')).toEqual(['e-1=1'])
  })

  test('several at once keep their order within a key', async () => {
    const seen: number[] = []
    const reader = make('reader', billingDatabase)
    reader.consume(OrderPlaced, ({ data }) => {
      if (data.orderId === 'f-1') seen.push(data.total)
    })
    await reader.start()
    const entries = Array.from({ length: 200 }, (_, total) => ({ event: OrderPlaced, data: { orderId: `f-${1 + (total % 2)}`, total } }))
    await shop
      .transaction((tx) => shop.publishAll(tx, entries))
      .then(
        () => settled([shop, reader]),
        () => undefined,
      )
    await reader.stop()
    expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => 2 * i))
  })

  test('a transaction of somebody else that is none is refused', async () => {
    const notOne = {} as Parameters<typeof shop.publish>[0]
    await expect(shop.publish(notOne, OrderPlaced, { orderId: 'x', total: 1 })).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  })
})

test('what a handler publishes names the message it handled as its cause and keeps the correlation', async () => {
  await shop.transaction((tx) => shop.publish(tx, OrderPlaced, { orderId: 'g-1', total: 2 }))
  await settled([shop, billing])
  const [invoice] = await billing.query('select cause, correlation from invoices where order_id = $1', ['g-1'])
  const [sent] = await shop.query('select cause, correlation from sent where order_id = $1', ['g-1'])
  expect(sent).toEqual(invoice)
  expect(invoice!['correlation']).toBe(invoice!['cause'])
})

describe('the life of a service', () => {
  test('a stopped one leaves no connection, and says so when it is used', async () => {
    const database = await testDatabase('short')
    const short = service('short', { database: postgres({ connection: () => database.connection() }), broker: log })
    short.consume(OrderPlaced, () => undefined)
    await short.start()
    expect(await short.ready()).toBe(true)
    await short.stop()
    await short.stop()
    const admin = new pg.Client({ ...database.connection(), database: 'postgres' })
    await admin.connect()
    // A backend ends a moment after its client has closed the socket.
    const count = `select count(*)::int as n from pg_stat_activity where datname = $1 and backend_type = 'client backend'`
    await expect.poll(async () => (await admin.query(count, [database.name])).rows, { timeout: 10_000 }).toEqual([{ n: 0 }])
    await admin.end()
    await expect(short.transaction(async () => undefined)).rejects.toMatchObject({ code: 'SERVICE_STOPPED' })
    await expect(short.start()).rejects.toMatchObject({ code: 'SERVICE_STOPPED' })
  })

  test('start says what was tried when the database is unreachable, and can be called again', async () => {
    let port = 1
    const late = service('late', { database: postgres({ connection: () => ({ ...shopDatabase.connection(), port }) }), broker: log })
    const failure: unknown = await late.start().catch((error: unknown) => error)
    expect(TidemarkError.is(failure, 'DATABASE_UNREACHABLE')).toBe(true)
    expect(String(failure)).toContain('127.0.0.1:1/')
    port = shopDatabase.connection().port
    await late.start()
    expect(await late.ready()).toBe(true)
    await late.stop()
  })

  test('goes on after the server ends all its connections', async () => {
    const admin = new pg.Client({ ...logDatabase.connection(), database: 'postgres' })
    await admin.connect()
    const end = (names: readonly string[]): Promise<unknown> =>
      admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = any($1)', [names])
    for (let round = 0; round < 5; round++) {
      await end([shopDatabase.name, billingDatabase.name, logDatabase.name])
      await shop.transaction((tx) => shop.publish(tx, OrderPlaced, { orderId: `h-${round}`, total: round })).catch(() => undefined)
      await shop.query('select 1').catch(() => undefined)
    }
    await admin.end()
    await settled([shop, billing])
    const placed = await shop.query(
      `select convert_from(payload, 'utf8')::json ->> 'orderId' as id from tidemark.outbox where aggregateid like 'h-%' order by 1`,
    )
    expect((await totals('h-')).map((line) => line.split('=')[0])).toEqual(placed.map((row) => row['id']))
    expect(shop.live() && billing.live()).toBe(true)
  })

  test('status tells counters and lag', async () => {
    await settled([shop, billing])
    const status = await billing.status()
    expect(status).toMatchObject({ name: 'billing', outbox: { pending: 0 }, lagError: null })
    expect(status.groups[0]!.lags!.map(({ topic, lag }) => ({ topic, lag }))).toEqual([{ topic: 'outbox.event.order', lag: 0 }])
    expect(status.groups[0]!.consumer!.counts.handled).toBeGreaterThan(0)
    expect(status.place).not.toContain(shopDatabase.connection().password ?? 'no password')
  })
})

describe('settings', () => {
  test.each<[string, object, RegExp]>([
    ['Shop', {}, /lower-case/],
    ['shop', { lanse: 4 }, /no option "lanse"/],
    ['shop', { lanes: 0 }, /lanes is a whole number/],
  ])('a wrong one fails at once: %s %o', (name, options, message) => {
    expect(() => service(name, options)).toThrow(message)
  })

  test('a consumer cannot be added after start, and one event has one handler in a group', async () => {
    expect(() => shop.consume(OrderPlaced, () => undefined)).toThrow(/after start/)
    const twice = make('twice', billingDatabase).consume(OrderPlaced, () => undefined)
    expect(() => twice.consume(OrderPlaced, () => undefined)).toThrow(/Two handlers of one group/)
    await twice.stop()
  })
})
