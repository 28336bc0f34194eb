import { execFile } from 'node:child_process'
import { chown, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { event, service, settled } from 'tidemark'
import { postgres, postgresBroker } from 'tidemark/postgres'
import { z } from 'zod'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { runOutsideTransaction } from '../../src/drivers/postgres/outside-transaction.ts'
import { freePort } from '../support/free-port.ts'
import { systemPackage } from '../support/system-packages.ts'
import { unprivilegedUser } from '../support/unprivileged-user.ts'
import { until } from '../support/until.ts'

// The distribution's server is older than the embedded one: nothing may need what only Postgres 18 has.
const installed = systemPackage('postgresql')
const run = promisify(execFile)

describe.skipIf(installed.missing)(`the distribution's Postgres${installed.note}`, () => {
  let directory: string
  let connection: (database: string) => { host: string; port: number; user: string; database: string }
  let command: (program: string, args: readonly string[]) => Promise<unknown>

  beforeAll(async () => {
    const bin = dirname(installed.files[0]!)
    directory = await mkdtemp(join(tmpdir(), 'tidemark-oldest-'))
    const asUser = await unprivilegedUser()
    if (asUser !== null) await chown(directory, asUser.uid, asUser.gid)
    command = (program, args) => run(join(bin, program), args, { cwd: directory, ...asUser })
    const port = await freePort()
    const data = join(directory, 'data')
    await command('initdb', ['-D', data, '-U', 'postgres', '-A', 'trust'])
    const settings = `-p ${port} -k ${directory} -c listen_addresses=127.0.0.1 -c fsync=off`
    await command('pg_ctl', ['-D', data, '-o', settings, '-l', join(directory, 'log'), '-w', 'start'])
    connection = (database) => ({ host: '127.0.0.1', port, user: 'postgres', database })
    const admin = new pg.Client(connection('postgres'))
    await admin.connect()
    for (const name of ['shop', 'billing', 'log']) await admin.query(`create database ${name}`)
    await admin.end()
  })
  afterAll(async () => {
    await command('pg_ctl', ['-D', join(directory, 'data'), '-m', 'fast', '-w', 'stop'])
    await rm(directory, { recursive: true })
  })

  test('carries an event from a transaction to its effect, once, in order per key', async () => {
    const Counted = event('Counted', { aggregate: 'counter', key: (c) => c.key, schema: z.object({ key: z.string(), n: z.number() }) })
    const log = postgresBroker({ connection: () => connection('log') })
    const shop = service('shop', { database: postgres({ connection: () => connection('shop') }), broker: log })
    const billing = service('billing', { database: postgres({ connection: () => connection('billing') }), broker: log })
    await billing.query('create table seen (place serial, key text, n int)')
    billing.consume(Counted, async ({ data }, { tx }) => {
      await tx.query('insert into seen (key, n) values ($1, $2)', [data.key, data.n])
    })
    await Promise.all([shop.start(), billing.start()])
    for (let n = 0; n < 20; n++) {
      await shop.transaction((tx) =>
        shop.publishAll(
          tx,
          ['a', 'b', 'c'].map((key) => ({ event: Counted, data: { key, n } })),
        ),
      )
    }
    await settled([shop, billing])
    const seen = await billing.query<{ key: string; all: number[] }>(
      'select key, array_agg(n order by place) as all from seen group by key order by key',
    )
    await Promise.all([shop.stop(), billing.stop()])
    await log.close()
    const order = Array.from({ length: 20 }, (_, n) => n)
    expect(seen).toEqual(['a', 'b', 'c'].map((key) => ({ key, all: order })))
  })

  test('detaches a partition under a time limit: finished, or given up with the connection closed', async () => {
    const database = new PostgresDatabase({ connection: () => connection('log') })
    await database.query('create table parent (n int) partition by range (n)')
    await database.query('create table first partition of parent for values from (0) to (1)')
    const [reader, session] = [await database.lease(), await database.lease()]
    await reader.run([{ text: 'begin' }, { text: 'select from parent' }])
    const detaching = runOutsideTransaction(session, 'alter table parent detach partition first concurrently', 50)
    await expect(detaching).rejects.toMatchObject({ code: '55P03' })
    await until('the connection is closed', () => session.broken !== null)
    session.release()
    await reader.run([{ text: 'commit' }])
    reader.release()
    await database.query('alter table parent detach partition first finalize')
    await database.query('create table second partition of parent for values from (1) to (2)')
    await database.use(async (one) => {
      await runOutsideTransaction(one, 'alter table parent detach partition second concurrently', 50)
      expect(await one.query('show lock_timeout')).toEqual([{ lock_timeout: '0' }])
    })
    expect(await database.query(`select from pg_inherits where inhparent = 'parent'::regclass`)).toEqual([])
    await database.close()
  })
})
