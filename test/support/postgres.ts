/**
 * Real Postgres for tests: one server for the whole run, one database per test file, and a check that the file left no connection behind.
 *
 * ```ts
 * const database = await testDatabase()      // at the top level of the test file
 * const pool = database.pool({ max: 4 })     // ended for you
 * ```
 *
 * @module
 */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, inject, type RunnerTask as Task, type RunnerTestSuite as Suite } from 'vitest'
import { embedded, type EmbeddedConnection, type EmbeddedLease, type EmbeddedPostgres } from '../../src/drivers/postgres/embedded/index.ts'
import { maintenanceDatabase, onConnection } from '../../src/drivers/postgres/embedded/connection.ts'
import { removeDatabase } from '../../src/drivers/postgres/embedded/databases.ts'
import { findPostmaster } from '../../src/drivers/postgres/embedded/postmaster.ts'
import { currentData } from '../../src/drivers/postgres/embedded/site.ts'
import { homeAt } from '../../src/drivers/postgres/embedded/home.ts'
import { endsWithin, signal } from '../../src/drivers/postgres/embedded/stop.ts'
import { makeServerDirectory, removeServerDirectory } from './test-run.ts'

/** A backend ends a moment after its client has closed the socket; a real leak stays. */
const leakPatienceMs = 5_000
/** Fast and forgetful: the data of a test run are worth nothing after a crash of the machine. */
const testSettings = { fsync: false, synchronous_commit: false, full_page_writes: false, max_connections: 300, log_min_messages: 'fatal' }

/** A database of its own for one test file. */
export interface TestDatabase {
  readonly name: string
  /** How to connect; read it afresh after a restart of the server. */
  connection(): EmbeddedConnection
  connectionString(): string
  /** A pool on this database, ended after the file's tests. */
  pool(config?: pg.PoolConfig): pg.Pool
  /** Removes the database with its slots and connections. Done by itself after the file's tests, unless one failed and TIDEMARK_TEST_KEEP=1. */
  drop(): Promise<void>
}

/** A server of the test file's own, durable, for tests that crash it. */
export interface DurableServer {
  readonly server: EmbeddedPostgres
  readonly lease: EmbeddedLease
  /** A database on this server. Call it at the top level of the test file. */
  database(name?: string): Promise<TestDatabase>
  /** Ends the server's first process with SIGKILL and waits until it is gone. `lease.ensureRunning()` starts it again. */
  crash(): Promise<void>
}

/** The run's server. It is never released: it stops at the end of the run, not between two files. */
export function testServer(): Promise<EmbeddedLease> {
  return embedded({ directory: inject('postgresDirectory'), settings: testSettings }).acquire()
}

/** A fresh database on the run's server. Call it at the top level of the test file. The file fails if it leaves connections or slots on it. */
export async function testDatabase(name = 'test'): Promise<TestDatabase> {
  return databaseOn(await testServer(), name)
}

/** Starts a durable server in a directory of its own, and removes both after the file's tests. Call it at the top level of the test file. */
export async function durableServer(): Promise<DurableServer> {
  const directory = await makeServerDirectory()
  const server = embedded({ directory: join(directory, 'postgres') })
  afterAll(() => removeServerDirectory(directory))
  const lease = await server.acquire()
  afterAll(() => lease.release())
  return {
    server,
    lease,
    database: (name = 'test') => databaseOn(lease, name),
    crash: async () => {
      const postmaster = await findPostmaster(await currentData(homeAt(server.directory)))
      if (postmaster === null) throw new Error('The server does not run.')
      signal(postmaster, 'SIGKILL')
      await endsWithin(postmaster, 10_000)
    },
  }
}

async function databaseOn(lease: EmbeddedLease, label: string): Promise<TestDatabase> {
  const name = `${label}_${randomUUID().replaceAll('-', '').slice(0, 12)}`
  const pools: pg.Pool[] = []
  await lease.ensureDatabase(name)
  const drop = (): Promise<void> => removeDatabase(lease.connection(name), name)
  // The runner insists on a destructuring pattern for the fixtures of a hook.
  afterAll(async ({}, suite) => {
    await Promise.all(pools.filter((pool) => !pool.ended && !pool.ending).map((pool) => pool.end()))
    await lease.ensureRunning()
    const left = await whatIsLeft(lease, name)
    if (!(process.env['TIDEMARK_TEST_KEEP'] === '1' && hasFailed(suite))) await drop()
    if (left.length > 0) throw new Error(`The test file left this on its database ${name}:\n${left.join('\n')}`)
  })
  return {
    name,
    drop,
    connection: () => lease.connection(name),
    connectionString: () => lease.connectionString(name),
    pool: (config = {}) => {
      const pool = new pg.Pool({ ...lease.connection(name), ...config })
      pool.on('error', () => undefined)
      pools.push(pool)
      return pool
    },
  }
}

/** Connections and replication slots of the database, one line each; waits a while for connections that are about to end. */
async function whatIsLeft(lease: EmbeddedLease, name: string): Promise<readonly string[]> {
  return onConnection(lease.connection(maintenanceDatabase), async (client) => {
    const deadline = performance.now() + leakPatienceMs
    for (;;) {
      const { rows } = await client.query<{ line: string }>(
        `select format('connection %s of %s, %s: %s', pid, application_name, state, query) as line from pg_stat_activity where datname = $1 and backend_type in ('client backend', 'walsender')
         union all select format('replication slot %s', slot_name) from pg_replication_slots where database = $1`,
        [name],
      )
      if (rows.length === 0 || performance.now() > deadline) return rows.map((row) => row.line)
      await client.query('select pg_sleep(0.02)')
    }
  })
}

function hasFailed(task: Task | Suite): boolean {
  return task.result?.state === 'fail' || ('tasks' in task && task.tasks.some(hasFailed))
}
