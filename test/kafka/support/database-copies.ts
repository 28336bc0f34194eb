import { randomUUID } from 'node:crypto'
import { afterAll } from 'vitest'
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { maintenanceDatabase } from '../../../src/drivers/postgres/embedded/connection.ts'
import { testServer } from '../../support/postgres.ts'
import { makeLoadTables } from './load.ts'

/** Databases of services that are backed up and restored. */
export interface DatabaseCopies {
  /** A new one with the tables of a load. */
  make(): Promise<string>
  /** A backup, as a database of its own. Nobody may be connected. */
  copy(url: string): Promise<string>
  /** Has the copy take itself for the original, as a backup does that is restored in its place. */
  restoreInPlace(url: string): Promise<void>
  /** Runs `work` on a connection that is closed afterwards. */
  on<T>(url: string, work: (database: PostgresDatabase) => Promise<T>): Promise<T>
}

/** Call it at the top level of the test file; all of them are dropped after its tests. */
export async function databaseCopies(label: string): Promise<DatabaseCopies> {
  const server = await testServer()
  const admin = new PostgresDatabase({ connectionString: server.connectionString(maintenanceDatabase) })
  const names: string[] = []
  afterAll(async () => {
    for (const name of names) await admin.query(`drop database if exists ${name} with (force)`)
    await admin.close()
  })
  const create = async (from: string): Promise<string> => {
    const name = `${label}_${randomUUID().replaceAll('-', '').slice(0, 12)}`
    names.push(name)
    await admin.query(`create database ${name} ${from}`)
    return server.connectionString(name)
  }
  async function on<T>(url: string, work: (database: PostgresDatabase) => Promise<T>): Promise<T> {
    const database = new PostgresDatabase({ connectionString: url, maxConnections: 3 })
    try {
      return await work(database)
    } finally {
      await database.close()
    }
  }
  return {
    on,
    async make() {
      const url = await create('')
      await on(url, makeLoadTables)
      return url
    },
    copy: (url) => create(`template ${new URL(url).pathname.slice(1)}`),
    restoreInPlace: (url) =>
      on(url, async (database) => {
        await database.query('update tidemark.relay set database_oid = (select oid from pg_database where datname = current_database())')
      }),
  }
}
