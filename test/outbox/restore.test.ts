import { afterAll, expect, test } from 'vitest'
import { PostgresBroker } from '../../src/drivers/postgres/postgres-broker.ts'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { PostgresOutboxOperations } from '../../src/drivers/postgres/postgres-outbox-operations.ts'
import { PostgresOutboxStore } from '../../src/drivers/postgres/postgres-outbox-store.ts'
import { maintenanceDatabase } from '../../src/drivers/postgres/embedded/connection.ts'
import { migrate } from '../../src/drivers/postgres/migrations/migrate.ts'
import { rebase, runRelay } from '../../src/outbox/index.ts'
import { readTail } from '../../src/outbox/read-tail.ts'
import { testDatabase, testServer } from '../support/postgres.ts'
import { message } from './support/outbox-database.ts'
import { until } from '../support/until.ts'

const server = await testServer()
const log = await testDatabase('restore_log')
const original = await testDatabase('restore_original')
const admin = new PostgresDatabase({ connectionString: server.connectionString(maintenanceDatabase) })
const broker = new PostgresBroker({ connectionString: log.connectionString(), defaultPartitions: 2 })
const copies: string[] = []
afterAll(async () => {
  await broker.close()
  for (const name of copies) await admin.query(`drop database ${name} with (force)`)
  await admin.close()
})

const logDatabase = new PostgresDatabase({ connectionString: log.connectionString() })
await migrate(logDatabase, { set: 'log' })
await logDatabase.close()

interface Service {
  readonly database: PostgresDatabase
  readonly store: PostgresOutboxStore
  readonly operations: PostgresOutboxOperations
}

/** Opens a service's database for `work` and closes it: a database that is copied must have no connection. */
async function on<T>(connectionString: string, work: (service: Service) => Promise<T>): Promise<T> {
  const database = new PostgresDatabase({ connectionString, maxConnections: 5 })
  try {
    return await work({ database, store: new PostgresOutboxStore({ database }), operations: new PostgresOutboxOperations({ database }) })
  } finally {
    await database.close()
  }
}

async function publish({ database, store }: Service, versions: readonly number[]): Promise<void> {
  for (const version of versions) {
    await database.transaction((tx) => store.append(tx, [message('a', version), message('b', version)]))
  }
}

/** Publishes all that waits. */
async function relayAll({ store }: Service): Promise<void> {
  const relay = runRelay({ store, broker, pageSize: 3, idleMs: 5, maintain: false })
  await until('the outbox is published', async () => {
    if (relay.status().phase === 'stopped') await relay.done
    return relay.status().phase === 'owner' && (await store.pending()) === 0
  })
  await relay.stop()
}

async function copyOf(name: string): Promise<string> {
  const copy = `${name}_copy${copies.length}`
  copies.push(copy)
  await admin.query(`create database ${copy} template ${name}`)
  return server.connectionString(copy)
}

async function wire(): Promise<{ key: string; version: number; coordinate: string }[]> {
  const found: { key: string; version: number; coordinate: string }[] = []
  await readTail(broker, ['outbox.event.order'], new Date(0), ({ value, headers }) => {
    const coordinate = headers.find(([name]) => name === 'tidemark-coordinate')![1]!.toString()
    found.push({ ...(JSON.parse(value!.toString()) as { key: string; version: number }), coordinate })
  })
  return found
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
}

test('a copy of the database that is put in its place sends nothing, says so, and goes on after a rebase without loss or repeat', async () => {
  await on(original.connectionString(), async (service) => {
    await migrate(service.database, { set: 'service' })
    await publish(service, range(1, 5))
    await relayAll(service)
    // Committed, and not published when the copy is made.
    await publish(service, range(6, 8))
  })
  const copy = await copyOf(original.name)
  await on(original.connectionString(), async (service) => {
    await publish(service, range(9, 10))
    await relayAll(service)
  })
  const before = await wire()
  expect(before).toHaveLength(20)

  await on(copy, async (service) => {
    const { store, database, operations } = service
    const moved = runRelay({ store, broker, maintain: false })
    await expect(moved.done).rejects.toMatchObject({ code: 'RELAY_RESTORED_DATABASE', message: expect.stringContaining('database oid') })
    expect((await operations.status()).streams[0]!.moved).toContain('database oid')

    // The same proof from the wire alone, as for a restored backup, which keeps server and database.
    await database.query('update tidemark.relay set database_oid = (select oid from pg_database where datname = current_database())')
    const behind = runRelay({ store, broker, maintain: false })
    await expect(behind.done).rejects.toMatchObject({ code: 'RELAY_RESTORED_DATABASE' })
    expect(behind.status()).toMatchObject({ phase: 'stopped', published: 0 })
    expect(await wire()).toHaveLength(20)

    expect(await rebase({ outbox: operations, broker, dryRun: true })).toMatchObject({ onTheWire: 10 })
    await rebase({ outbox: operations, broker })
    // Other messages than those that the original sent under these numbers.
    await publish(service, range(11, 12))
    await relayAll(service)
  })
  const after = await wire()
  expect(after).toHaveLength(24)
  for (const key of ['a', 'b']) expect(after.filter((sent) => sent.key === key).map(({ version }) => version)).toEqual(range(1, 12))
  expect(after.slice(0, 20).every(({ coordinate }) => coordinate.includes('.1/'))).toBe(true)
  expect(new Set(after.map(({ coordinate }) => coordinate)).size).toBe(24)
})

test('the original stops when a copy of it has gone on', async () => {
  await on(original.connectionString(), async ({ store }) => {
    const relay = runRelay({ store, broker, maintain: false })
    await expect(relay.done).rejects.toMatchObject({ code: 'RELAY_RESTORED_DATABASE' })
  })
})

test('a tick that was under way in the copy is taken back: what of it is on the wire is left out, the rest is sent', async () => {
  const place = await ownDatabase()
  await on(place, async (service) => {
    await migrate(service.database, { set: 'service' })
    await publish(service, range(1, 2))
    await relayAll(service)
    await publish(service, range(3, 6))
    // A tick whose first page, and no more, is checkpointed.
    const stream = await service.store.openStream(0)
    await stream.takeOver({ owner: 'cut short', leaseMs: 1 })
    const ticked = await stream.tick(false)
    if (typeof ticked === 'string' || ticked.tick === null) throw new Error('expected a tick')
    await stream.close('stopped')
  })
  const copy = await copyOf(new URL(place).pathname.slice(1))
  const sentBefore = (await wire()).length
  await on(place, relayAll)
  expect(await wire()).toHaveLength(sentBefore + 8)
  await on(copy, async (service) => {
    expect(await rebase({ outbox: service.operations, broker })).toMatchObject({ onTheWire: 8 })
    await publish(service, [7])
    await relayAll(service)
  })
  expect(await wire()).toHaveLength(sentBefore + 10)
})

test('after a dump into another cluster, whose transaction ids mean nothing here, what was published is told by the old snapshots', async () => {
  await on(await ownDatabase(), async (service) => {
    const { database, operations } = service
    await migrate(database, { set: 'service' })
    await publish(service, range(1, 3))
    await relayAll(service)
    await publish(service, range(4, 5))
    const sentBefore = (await wire()).length
    // As a dump brings them: ids that this server will not reach for years.
    await database.query(`update tidemark.outbox set xid = (xid::text::bigint + 1000000000)::text::xid8`)
    await database.query(`update tidemark.relay set cur = format('%s:%s:', x, x)::pg_snapshot, prev = format('%s:%s:', x, x)::pg_snapshot
      from (select max(xid::text::bigint) + 1 as x from tidemark.outbox where aggregateid in ('a', 'b') and payload in (
        select payload from tidemark.outbox order by seq limit 6)) m`)
    await expect(rebase({ outbox: operations, broker })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('from-dump'),
    })
    await rebase({ outbox: operations, broker, fromDump: true })
    await publish(service, [6])
    await relayAll(service)
    const after = await wire()
    expect(after).toHaveLength(sentBefore + 6)
    expect(
      after
        .slice(sentBefore)
        .filter(({ key }) => key === 'a')
        .map(({ version }) => version),
    ).toEqual([4, 5, 6])
  })
})

/** A database for one test, dropped with the copies. */
async function ownDatabase(): Promise<string> {
  const name = `${original.name}_own${copies.length}`
  copies.push(name)
  await admin.query(`create database ${name}`)
  return server.connectionString(name)
}
