import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { TidemarkError } from 'tidemark'
import type { Foundation } from './foundation.ts'

/** Of databases that are on their way out. A run that was killed in between leaves some; the next one removes them. */
const droppedPrefix = 'shop_dropped_'

/** Makes the databases that are missing. Safe by two processes at once. Rejects with `DATABASE_UNREACHABLE`. */
export async function makeDatabases(foundation: Foundation, names: readonly string[]): Promise<void> {
  await onServer(foundation, async (client) => {
    for (const name of names) {
      const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name])
      if (rowCount !== 0) continue
      await client.query(`create database ${name} template template0`).catch((error: { code?: string }) => {
        // 42P04 duplicate_database, or 23505 unique_violation: another process made it at the same moment.
        if (error.code !== '42P04' && error.code !== '23505') throw error
      })
    }
  })
}

/**
 * Empties the shop: all of its databases are gone, or, where anybody is connected to one of them, all are as before. Returns `'in use'` then,
 * with who it is.
 *
 * They are renamed in one transaction and dropped after it, since half a shop with its other half missing would never add up again.
 */
export async function dropDatabases(foundation: Foundation, names: readonly string[]): Promise<'dropped' | { readonly inUse: string }> {
  return onServer(foundation, async (client) => {
    const renamed = await setAside(client, names)
    const { rows } = await client.query<{ datname: string }>(`select datname from pg_database where datname ^@ $1`, [droppedPrefix])
    // `force` ends whoever got hold of a database while it was renamed.
    for (const { datname } of rows) await client.query(`drop database if exists ${datname} with (force)`)
    return renamed ? 'dropped' : { inUse: await usersOf(client, names) }
  })
}

async function setAside(client: pg.Client, names: readonly string[]): Promise<boolean> {
  const { rows } = await client.query<{ datname: string }>('select datname from pg_database where datname = any($1)', [names])
  try {
    await client.query('begin')
    for (const { datname } of rows) {
      await client.query(`alter database ${datname} rename to ${droppedPrefix}${randomUUID().replaceAll('-', '')}`)
    }
    await client.query('commit')
    return true
  } catch (error) {
    await client.query('rollback')
    // 55006 object_in_use, after the five seconds that Postgres itself waits; the connections of a killed process end sooner.
    if ((error as { code?: string }).code === '55006') return false
    throw error
  }
}

async function usersOf(client: pg.Client, names: readonly string[]): Promise<string> {
  const { rows } = await client.query<{ who: string }>(
    `select distinct format('%s (%s)', coalesce(nullif(application_name, ''), 'a client'), datname) as who
     from pg_stat_activity where datname = any($1) and backend_type = 'client backend' order by 1 limit 5`,
    [names],
  )
  return rows.map(({ who }) => who).join(', ')
}

async function onServer<T>(foundation: Foundation, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ ...foundation.maintenance(), connectionTimeoutMillis: 5_000, application_name: 'tidemark shop' })
  // A connection that breaks while idle must not end the process; the next query on it rejects.
  client.on('error', () => undefined)
  try {
    await client.connect()
  } catch (cause) {
    await foundation.revive()
    const reason = cause instanceof Error ? cause.message || String((cause as { code?: string }).code) : String(cause)
    throw new TidemarkError('DATABASE_UNREACHABLE', `No connection to Postgres at ${foundation.place}: ${reason}.`, {
      cause,
      remedy: 'Check that the server runs, that host, port and database are right, and that the user may log in.',
    })
  }
  try {
    return await work(client)
  } finally {
    await client.end().catch(() => undefined)
  }
}
