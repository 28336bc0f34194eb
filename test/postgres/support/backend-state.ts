import pg from 'pg'
import { expect } from 'vitest'
import type { Pooler } from '../../support/pooler.ts'
import type { TestDatabase } from '../../support/postgres.ts'

/** What a connection could carry from one transaction into the next. The pooler sets `application_name` itself. */
const carried = `select
  (select string_agg(name || ' = ' || setting, ', ' order by name) from pg_settings where source = 'session' and name <> 'application_name') as settings,
  (select count(*)::int from pg_prepared_statements) as prepared,
  (select count(*)::int from pg_cursors where is_holdable) as cursors,
  (select count(*)::int from pg_listening_channels()) as channels,
  (select count(*)::int from pg_locks where pid = pg_backend_pid() and locktype = 'advisory') as locks,
  pg_my_temp_schema()::int as temporary, pg_backend_pid() as pid`

/** Every connection that the pooler has to this database is as it was when it was opened. */
export async function expectNoState(pooler: Pooler, database: TestDatabase): Promise<void> {
  const untouched = await onClients([new pg.Client(database.connection())])
  // All at once inside transactions, so that each client has a connection for itself, and together they have them all.
  const states = await onClients(Array.from({ length: pooler.poolSize }, () => new pg.Client(pooler.connection(database.name))))
  expect(new Set(states.map(({ pid }) => pid)).size).toBe(pooler.poolSize)
  expect(states.map((state) => ({ ...state, pid: 0 }))).toEqual(states.map(() => ({ ...untouched[0], pid: 0 })))
}

async function onClients(clients: readonly pg.Client[]): Promise<Record<string, unknown>[]> {
  try {
    await Promise.all(clients.map((client) => client.connect()))
    await Promise.all(clients.map((client) => client.query('begin')))
    return await Promise.all(clients.map(async (client) => (await client.query<Record<string, unknown>>(carried)).rows[0]!))
  } finally {
    await Promise.all(clients.map((client) => client.end()))
  }
}
