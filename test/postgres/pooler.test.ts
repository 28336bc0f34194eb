import postgresJs from 'postgres'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Service, type ServiceOptions, TidemarkError, event, service, settled } from 'tidemark'
import {
  type PostgresBroker,
  type PostgresBrokerOptions,
  pgTransaction,
  postgres,
  postgresBroker,
  postgresJsTransaction,
} from 'tidemark/postgres'
import { z } from 'zod'
import { main } from '../../src/cli/main.ts'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { migrations } from '../../src/drivers/postgres/migrations/compiled.ts'
import { migrate } from '../../src/drivers/postgres/migrations/migrate.ts'
import { Pooler, pgbouncer } from '../support/pooler.ts'
import { type TestDatabase, testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { clientOf } from './support/client-of.ts'
import { expectNoState } from './support/backend-state.ts'

const data = z.object({ key: z.string(), n: z.number(), pad: z.string().default('') })
const Placed = event('Placed', { aggregate: 'order', key: (order) => order.key, schema: data })
const Billed = event('Billed', { aggregate: 'invoice', key: (invoice) => invoice.key, schema: data })

const [shopDatabase, billingDatabase, logDatabase] = [await testDatabase('shop'), await testDatabase('billing'), await testDatabase('log')]
const databases = [shopDatabase, billingDatabase, logDatabase]

describe.skipIf(pgbouncer.missing)(`through PgBouncer in transaction mode${pgbouncer.note}`, () => {
  const pooler = new Pooler({ server: () => shopDatabase.connection() })
  const through = (database: TestDatabase) => ({ connection: () => pooler.connection(database.name) })
  const started: { readonly service: Service; readonly log: PostgresBroker }[] = []

  beforeAll(async () => {
    await pooler.start()
    for (const database of [shopDatabase, billingDatabase]) {
      const setUp = new PostgresDatabase(through(database))
      await setUp.query(
        'create table seen (place serial primary key, by text not null, type text not null, key text not null, n int not null)',
      )
      await setUp.query('create table written (key text, n int, primary key (key, n))')
      await setUp.close()
    }
  })
  afterEach(stopAll)
  afterAll(() => pooler.stop())

  /** A service with a log of its own, as in a process of its own. */
  function program(name: string, database: TestDatabase, log: Partial<PostgresBrokerOptions> = {}, options: ServiceOptions = {}): Service {
    const broker = postgresBroker({ ...through(logDatabase), sessionTimeoutMs: 2_000, ...log })
    const made = service(name, { database: postgres(through(database)), broker, partitions: 4, ...options })
    started.push({ service: made, log: broker })
    return made
  }

  /** Everything of a program, in the order in which one would end it. */
  async function stopAll(): Promise<void> {
    const ending = started.splice(0)
    await Promise.all(ending.map(({ service: each }) => each.stop()))
    await Promise.all(ending.map(({ log }) => log.close()))
  }

  /** Notes every message of an event. */
  function note(reader: Service, definition: typeof Placed | typeof Billed, by = reader.name): void {
    reader.consume(definition, async ({ type, data: { key, n } }, { tx }) => {
      await tx.query('insert into seen (by, type, key, n) values ($1, $2, $3, $4)', [by, type, key, n])
    })
  }

  /** What was noted of each key, in the order of the commits. */
  async function seen(database: TestDatabase, type: string, prefix: string): Promise<Record<string, readonly number[]>> {
    const look = new PostgresDatabase(through(database))
    const rows = await look.query<{ by: string; key: string; all: number[] }>(
      'select key, array_agg(n order by place) as all from seen where type = $1 and key like $2 group by key order by key',
      [type, `${prefix}%`],
    )
    await look.close()
    return Object.fromEntries(rows.map(({ key, all }) => [key, all]))
  }

  const keysOf = (prefix: string): string[] => Array.from({ length: 6 }, (_, i) => `${prefix}-${i}`)
  const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n)
  const all = (prefix: string, count: number) => Object.fromEntries(keysOf(prefix).map((key) => [key, upTo(count)]))

  /** One transaction per key, all at once, as often as asked. */
  async function place(shop: Service, prefix: string, count: number): Promise<void> {
    for (const n of upTo(count)) {
      await Promise.all(keysOf(prefix).map((key) => shop.transaction((tx) => shop.publish(tx, Placed, { key, n }))))
    }
  }

  test('two processes at once apply every migration once, and a later one finds nothing to do', async () => {
    const two = [new PostgresDatabase(through(logDatabase)), new PostgresDatabase(through(logDatabase))]
    for (const set of ['service', 'log'] as const) {
      const reports = await Promise.all(two.map((database) => migrate(database, { set, schema: 'twice' })))
      expect(reports.flatMap(({ applied }) => applied).sort()).toEqual(migrations[set].map(({ version }) => version))
      expect((await migrate(two[0]!, { set, schema: 'twice' })).applied).toEqual([])
    }
    await Promise.all(two.map((database) => database.close()))
    await expectNoState(pooler, logDatabase)
  })

  test('several services publish, relay and handle, once and in order per key, and leave nothing when they stop', async () => {
    const shop = program('shop', shopDatabase)
    const billing = program('billing', billingDatabase)
    const insight = program('insight', billingDatabase)
    billing.consume(Placed, async ({ data: order }, { tx }) => {
      await Promise.all([
        tx.query('insert into seen (by, type, key, n) values ($1, $2, $3, $4)', ['billing', 'Placed', order.key, order.n]),
        billing.publish(tx, Billed, order),
      ])
    })
    note(shop, Billed)
    note(insight, Billed)
    await Promise.all([shop, billing, insight].map((each) => each.start()))
    expect(await Promise.all([shop, billing, insight].map((each) => each.ready()))).toEqual([true, true, true])

    const client = await clientOf(pooler.connection(shopDatabase.name))
    const sql = postgresJs(pooler.connectionString(shopDatabase.name), { max: 1, prepare: false })
    await Promise.all([
      place(shop, 'flow', 40),
      (async () => {
        for (const n of upTo(20)) {
          await client.query('begin')
          await shop.publish(pgTransaction(client), Placed, { key: 'client', n })
          await client.query('commit')
          await sql.begin((tx) => shop.publish(postgresJsTransaction(tx), Placed, { key: 'sql', n }))
        }
      })(),
    ])
    const clients = await pooler.show('clients')
    const servers = await pooler.show('servers')
    for (const { name } of databases) {
      const count = (rows: typeof clients): number => rows.filter((row) => row['database'] === name).length
      expect(count(servers)).toBeLessThanOrEqual(pooler.poolSize)
      expect(count(clients)).toBeGreaterThan(count(servers))
    }
    await client.end()
    await sql.end()

    await settled([shop, billing, insight])
    expect(await seen(billingDatabase, 'Placed', 'flow')).toEqual(all('flow', 40))
    expect(await seen(billingDatabase, 'Billed', 'flow')).toEqual(all('flow', 40))
    expect(await seen(shopDatabase, 'Billed', 'flow')).toEqual(all('flow', 40))
    expect(await seen(shopDatabase, 'Billed', 'client')).toEqual({ client: upTo(20) })
    expect(await seen(shopDatabase, 'Billed', 'sql')).toEqual({ sql: upTo(20) })

    await stopAll()
    const names = databases.map(({ name }) => name)
    await until('the pooler has no client of theirs', async () =>
      (await pooler.show('clients')).every((row) => !names.includes(String(row['database']))),
    )
    for (const database of databases) await expectNoState(pooler, database)
    const open = await shopDatabase.pool().query(
      `select pid, application_name, state, query from pg_stat_activity
        where datname = any($1) and backend_type = 'client backend' and xact_start is not null and pid <> pg_backend_pid()`,
      [names],
    )
    expect(open.rows).toEqual([])
  })

  test('consumers of one group share its partitions, and hand them over while messages come', async () => {
    const shop = program('shop', shopDatabase)
    const one = program('sharing', billingDatabase)
    const two = program('sharing', billingDatabase)
    note(one, Placed, 'one')
    note(two, Placed, 'two')
    const owns = async (each: Service): Promise<number> => (await each.status()).groups[0]!.consumer?.partitions.length ?? 0
    await Promise.all([shop.start(), one.start()])
    await until('the first has all partitions', async () => (await owns(one)) === 4)
    let coming = true
    let count = 0
    const load = (async () => {
      for (; coming; count++)
        await Promise.all(keysOf('share').map((key) => shop.transaction((tx) => shop.publish(tx, Placed, { key, n: count }))))
    })()
    await two.start()
    await until('each has two', async () => (await owns(one)) === 2 && (await owns(two)) === 2)
    await one.stop()
    await until('the second has all', async () => (await owns(two)) === 4)
    coming = false
    await load
    await settled([shop, two])
    expect(await seen(billingDatabase, 'Placed', 'share')).toEqual(all('share', count))
  })

  test("the operator's commands show a parked key and release it", async () => {
    const url = pooler.connectionString(shopDatabase.name)
    const tidemark = async (...argv: string[]) => {
      let stdout = ''
      const io = {
        stdout: { write: (text: string) => (stdout += text) },
        stderr: process.stderr,
        env: { DATABASE_URL: url },
        user: 'tester',
      }
      expect(await main([...argv, '--json'], io)).toBe(0)
      return JSON.parse(stdout) as Record<string, unknown>
    }
    const small = program('shop', shopDatabase, { maxRecordBytes: 2_000 })
    await small.start()
    await small.transaction((tx) => small.publish(tx, Placed, { key: 'parked', n: 0, pad: 'x'.repeat(5_000) }))
    await small.transaction((tx) => small.publish(tx, Placed, { key: 'parked', n: 1 }))
    await until('the key is parked', async () => (JSON.stringify(await tidemark('outbox', 'parked')).match(/"held":2/) ?? []).length > 0)
    expect(JSON.stringify(await tidemark('outbox', 'status'))).toContain('"parkedKeys":1')
    await stopAll()

    const [shop, reader] = [program('shop', shopDatabase), program('operated', billingDatabase)]
    note(reader, Placed)
    await Promise.all([shop.start(), reader.start()])
    await tidemark('outbox', 'release', 'order/parked')
    await until('it is released', async () => JSON.stringify(await tidemark('outbox', 'status')).includes('"parkedKeys":0'))
    await settled([shop, reader])
    expect(await seen(billingDatabase, 'Placed', 'parked')).toEqual({ parked: [0, 1] })
  })

  test('a pooler that ends and comes back, or loses its server, costs no message, no effect and no order', async () => {
    const shop = program('shop', shopDatabase)
    const billing = program('lasting', billingDatabase)
    note(billing, Placed)
    await Promise.all([shop.start(), billing.start()])
    const rounds = 100
    let placed = 0
    const publishers = keysOf('crash').map(async (key) => {
      for (const n of upTo(rounds)) {
        await placeForSure(shop, key, n)
        placed += 1
      }
    })
    const restart = (signal: 'SIGKILL' | 'SIGTERM' | 'SIGINT') => async () => {
      await pooler.end(signal)
      await until('the trouble shows', async () => !(await billing.ready()))
      await pooler.start()
    }
    const loseServer = async (): Promise<void> => {
      await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = any($1)', [
        databases.map(({ name }) => name),
      ])
    }
    const admin = await clientOf({ ...shopDatabase.connection(), database: 'postgres' })
    const faults = [restart('SIGKILL'), loseServer, restart('SIGTERM'), restart('SIGINT'), loseServer]
    for (const [i, fault] of faults.entries()) {
      await until('some more are placed', () => placed >= ((i + 1) * keysOf('crash').length * rounds) / (faults.length + 2))
      await fault()
    }
    expect(placed).toBeLessThan(keysOf('crash').length * rounds)
    await admin.end()
    await Promise.all(publishers)
    await settled([shop, billing])
    expect(await seen(billingDatabase, 'Placed', 'crash')).toEqual(all('crash', rounds))
    expect([shop.live(), billing.live()]).toEqual([true, true])
  })
})

/** Publishes as a careful client does: what became of a transaction whose outcome is unknown, its own row tells. */
async function placeForSure(shop: Service, key: string, n: number): Promise<void> {
  for (;;) {
    try {
      return await shop.transaction(async (tx) => {
        const rows = await tx.query('insert into written values ($1, $2) on conflict do nothing returning n', [key, n])
        if (rows.length > 0) await shop.publish(tx, Placed, { key, n })
      })
    } catch (error) {
      if (!TidemarkError.is(error) || !error.retryable) throw error
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
}
