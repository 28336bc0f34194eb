import { join } from 'node:path'
import { expect, test } from 'vitest'
import { onConnection } from '../../src/drivers/postgres/embedded/connection.ts'
import { homeAt } from '../../src/drivers/postgres/embedded/home.ts'
import { embedded } from '../../src/drivers/postgres/embedded/index.ts'
import { findPostmaster } from '../../src/drivers/postgres/embedded/postmaster.ts'
import { currentData } from '../../src/drivers/postgres/embedded/site.ts'
import { serverDirectory, startUser } from './processes.ts'

async function runs(home: string): Promise<boolean> {
  return (await findPostmaster(await currentData(homeAt(home)))) !== null
}

test('two processes that start at once, with no data yet, get the same server', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const [one, two] = [startUser(home), startUser(home)]
  const [first, second] = await Promise.all([one.find('acquire'), two.find('acquire')])
  expect(second).toEqual(first)
})

test('the release of one of two processes leaves the server running, the last one stops it', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const [one, two] = [startUser(home), startUser(home)]
  await Promise.all([one.find('acquire'), two.find('acquire')])
  await one.run('release')
  expect(await runs(home)).toBe(true)
  await two.run('release')
  expect(await runs(home)).toBe(false)
})

test('a process ends by itself after its release, and also when it holds a lease but has nothing else to do', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const [one, two] = [startUser(home), startUser(home)]
  await Promise.all([one.find('acquire'), two.find('acquire')])
  await one.run('release')
  expect(await one.end()).toBe(0)
  expect(await two.end()).toBe(0)
  expect(await runs(home)).toBe(true)
})

test('users in one process are counted: the server stops after the last release, and a second release of one lease does not count', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const [first, second] = await Promise.all([embedded({ directory: home }).acquire(), embedded({ directory: home }).acquire()])
  await first.release()
  await first.release()
  expect(await runs(home)).toBe(true)
  await second.ensureRunning()
  await second.release()
  expect(await runs(home)).toBe(false)
  await expect(second.ensureRunning()).rejects.toMatchObject({ code: 'SERVICE_STOPPED' })
  expect(() => second.connection('postgres')).toThrow(/lease/)
})

test('data, password and port are the same after a stop and a new start', async () => {
  const server = embedded({ directory: join(await serverDirectory(), 'postgres') })
  const lease = await server.acquire()
  await lease.ensureDatabase('shop')
  const before = lease.connection('shop')
  await onConnection(before, (client) => client.query('create table orders as select 1 as id'))
  await lease.release()
  const again = await server.acquire()
  expect(again.connection('shop')).toEqual(before)
  const count = await onConnection(again.connection('shop'), (client) => client.query('select from orders'))
  expect(count.rowCount).toBe(1)
  await again.release()
})

test('a database is made once by many at the same time, whatever its name, and dropped with its replication slots', async () => {
  const server = embedded({ directory: join(await serverDirectory(), 'postgres') })
  const lease = await server.acquire()
  const name = 'Shop "one" \u00e9'
  await Promise.all(Array.from({ length: 5 }, () => lease.ensureDatabase(name)))
  await onConnection(lease.connection(name), (client) => client.query(`select pg_create_logical_replication_slot('one', 'pgoutput')`))
  await server.dropDatabase(name)
  await server.dropDatabase(name)
  await expect(onConnection(lease.connection(name), (client) => client.query('select 1'))).rejects.toMatchObject({ code: '3D000' })
  await lease.release()
})

test('the server is durable, logical, reachable on 127.0.0.1 with the password only, and takes settings', async () => {
  const server = embedded({ directory: join(await serverDirectory(), 'postgres'), settings: { max_connections: 31 } })
  const lease = await server.acquire()
  const { rows } = await onConnection(lease.connection('postgres'), (client) =>
    client.query(
      `select name, setting from pg_settings where name in ('fsync', 'synchronous_commit', 'wal_level', 'max_connections', 'listen_addresses')`,
    ),
  )
  expect(Object.fromEntries(rows.map((row: { name: string; setting: string }) => [row.name, row.setting]))).toEqual({
    fsync: 'on',
    synchronous_commit: 'on',
    wal_level: 'logical',
    max_connections: '31',
    listen_addresses: '127.0.0.1',
  })
  const wrong = { ...lease.connection('postgres'), password: 'wrong' }
  await expect(onConnection(wrong, (client) => client.query('select 1'))).rejects.toMatchObject({ code: '28P01' })
  await lease.release()
})

test('settings that the life cycle depends on are refused', () => {
  expect(() => embedded({ settings: { port: 5432 } })).toThrow(/"port".*cannot be chosen/)
  expect(() => embedded({ settings: { 'fsync=off -c x': 1 } })).toThrow(/cannot be chosen/)
})
