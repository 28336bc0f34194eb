import { expect, test } from 'vitest'
import { durableServer, testDatabase } from '../support/postgres.ts'

const [one, two] = [await testDatabase('harness'), await testDatabase('harness')]
const own = await durableServer()
const durable = await own.database()

test('each test database is fresh, with its own name, on one server', async () => {
  expect(one.name).not.toBe(two.name)
  expect(one.connection().port).toBe(two.connection().port)
  await one.pool().query('create table orders ()')
  const { rows } = await two.pool().query(`select to_regclass('orders') as found`)
  expect(rows).toEqual([{ found: null }])
})

test('a durable server is another server, and keeps what was committed before a crash', async () => {
  expect(durable.connection().port).not.toBe(one.connection().port)
  await durable.pool().query('create table orders as select 1 as id')
  await own.crash()
  await expect(durable.pool().query('select 1')).rejects.toThrow()
  await own.lease.ensureRunning()
  const { rows } = await durable.pool().query(`select id, current_setting('fsync') as fsync from orders`)
  expect(rows).toEqual([{ id: 1, fsync: 'on' }])
})
