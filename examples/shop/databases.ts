import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { TidemarkError } from 'tidemark'
import type { Foundation } from './foundation.ts'
import { exitCodes, ShopError } from './program/shop-error.ts'

/** One process at a time makes or drops a shop. Whoever waits longer than this stands before one that hangs. */
const turnPatienceMs = 60_000

/**
 * Makes the databases that are missing. Safe by two processes at once. Rejects with `DATABASE_UNREACHABLE`, or with exit code 6 when there is no
 * shop yet and the log holds messages nevertheless: they are another shop's, and would be taken for ours.
 */
export async function makeDatabases(foundation: Foundation, names: readonly string[]): Promise<void> {
  await inTurn(foundation, async (client) => {
    await finishDropping(foundation, client, names)
    const there = await existing(client, names)
    if (there.length === 0) await requireEmptyLog(foundation)
    for (const name of names.filter((each) => !there.includes(each))) await create(client, name)
  })
}

/**
 * Empties the shop: all of its databases and topics are gone, or, where anybody is connected to one of the databases, all are as before. Returns
 * who that is then.
 *
 * The databases are renamed in one transaction, then the topics deleted, then the databases dropped. Half a shop with its other half missing
 * would never add up again; so the renamed ones stay until the topics are gone, and the next run that finds them finishes the job.
 */
export async function dropDatabases(foundation: Foundation, names: readonly string[]): Promise<'dropped' | { readonly inUse: string }> {
  return inTurn(foundation, async (client) => {
    if (!(await setAside(foundation, client, names))) return { inUse: await usersOf(client, names) }
    await foundation.log.empty()
    await finishDropping(foundation, client, names)
    return 'dropped'
  })
}

async function create(client: pg.Client, name: string): Promise<void> {
  try {
    await client.query(`create database ${name} template template0`)
  } catch (error) {
    // 42P04 duplicate_database, or 23505 unique_violation: a process that takes its turn in another database of the server was faster.
    if (!['42P04', '23505'].includes((error as { code?: string }).code ?? '')) throw error
  }
}

/** Of databases that are on their way out. */
function droppedPrefix({ log }: Foundation): string {
  return `${log.databasePrefix}dropped_`
}

async function setAside(foundation: Foundation, client: pg.Client, names: readonly string[]): Promise<boolean> {
  try {
    await client.query('begin')
    for (const name of await existing(client, names)) {
      await client.query(`alter database ${name} rename to ${droppedPrefix(foundation)}${randomUUID().replaceAll('-', '')}`)
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

/** Drops the databases that were set aside, by this run or by one that was killed before it came to its topics. */
async function finishDropping(foundation: Foundation, client: pg.Client, names: readonly string[]): Promise<void> {
  const { rows } = await client.query<{ datname: string }>('select datname from pg_database where datname ^@ $1', [
    droppedPrefix(foundation),
  ])
  // A shop that stands again has topics of its own.
  if (rows.length > 0 && (await existing(client, names)).length === 0) await foundation.log.empty()
  // `force` ends whoever got hold of a database while it was renamed.
  for (const { datname } of rows) await client.query(`drop database if exists ${datname} with (force)`)
}

async function existing(client: pg.Client, names: readonly string[]): Promise<readonly string[]> {
  const { rows } = await client.query<{ datname: string }>('select datname from pg_database where datname = any($1)', [names])
  return rows.map(({ datname }) => datname)
}

async function requireEmptyLog({ log, server }: Foundation): Promise<void> {
  const messages = await log.messages()
  if (messages === 0) return
  throw new ShopError(
    'LOG_OF_ANOTHER_SHOP',
    exitCodes.conflict,
    `There is no shop in Postgres at ${server.place} yet, but the shop's topics in Kafka at ${log.place ?? ''} hold ${messages} messages, of another shop. Nothing was made.`,
    'Go on with the other shop, use another Kafka, or say --fresh to delete those topics.',
  )
}

async function usersOf(client: pg.Client, names: readonly string[]): Promise<string> {
  const { rows } = await client.query<{ who: string }>(
    `select distinct format('%s (%s)', coalesce(nullif(application_name, ''), 'a client'), datname) as who
     from pg_stat_activity where datname = any($1) and backend_type = 'client backend' order by 1 limit 5`,
    [names],
  )
  return rows.map(({ who }) => who).join(', ')
}

/** Works on whole databases while no other process does. The lock ends with its transaction, also behind a pooler and when we are killed. */
async function inTurn<T>(foundation: Foundation, work: (client: pg.Client) => Promise<T>): Promise<T> {
  return onServer(foundation, async (lock) => {
    await lock.query('begin')
    await lock.query(`set local lock_timeout = ${turnPatienceMs}`)
    try {
      await lock.query(`select pg_advisory_xact_lock(hashtext('tidemark shop'))`)
    } catch (error) {
      // 55P03 lock_not_available
      if ((error as { code?: string }).code !== '55P03') throw error
      const message = `Another process has been making or dropping a shop at ${foundation.server.place} for ${turnPatienceMs / 1_000} s.`
      throw new ShopError('SHOP_IN_USE', exitCodes.conflict, message, 'If it hangs or is suspended, continue or end it.')
    }
    return onServer(foundation, work)
  })
}

async function onServer<T>({ server }: Foundation, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ ...server.maintenance(), connectionTimeoutMillis: 5_000, application_name: 'tidemark shop' })
  // A connection that breaks while idle must not end the process; the next query on it rejects.
  client.on('error', () => undefined)
  try {
    await client.connect()
  } catch (cause) {
    await server.revive()
    const reason = cause instanceof Error ? cause.message || String((cause as { code?: string }).code) : String(cause)
    throw new TidemarkError('DATABASE_UNREACHABLE', `No connection to Postgres at ${server.place}: ${reason}.`, {
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
