import { once } from 'node:events'
import { type AddressInfo, type Socket, connect, createServer } from 'node:net'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { StatementSkipped } from '../../src/drivers/postgres/statement-run.ts'
import { TidemarkError } from '../../src/errors.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const server = await testDatabase()
const database = new PostgresDatabase({ connection: () => server.connection() })

beforeAll(() => database.query('create table entry (id int primary key, note text)'))
afterAll(() => database.close())

describe('a session', () => {
  test('sends the statements of one turn in order and gives each its own rows', async () => {
    const answers = await database.use((session) =>
      Promise.all([
        session.query('select 1 as n'),
        session.query('select $1::int + 1 as n', [1]),
        session.query('select generate_series(1, 3) as n'),
        session.query('select null::text as n, now() > $1::timestamptz as later', [new Date(0)]),
      ]),
    )
    expect(answers).toEqual([[{ n: 1 }], [{ n: 2 }], [{ n: 1 }, { n: 2 }, { n: 3 }], [{ n: null, later: true }]])
  })

  test('uses one round trip for many statements', async () => {
    const counted = await database.use(async (session) => {
      let sent = 0
      const client = session.client
      const query = client.query.bind(client) as (run: unknown) => unknown
      client.query = ((run: unknown) => {
        sent += 1
        return query(run)
      }) as typeof client.query
      await Promise.all(Array.from({ length: 500 }, (_, i) => session.query('select $1::int as n', [i])))
      return sent
    })
    expect(counted).toBe(1)
  })

  test('knows the columns of a statement that comes again, and those of the next one', async () => {
    const [one, two] = ['select $1::int as n', `select $1::text as t, 'x' as more`]
    const answers = await database.use((session) =>
      Promise.all([
        ...[1, 2].map((n) => session.query(one, [n])),
        session.query('delete from entry where id = $1', [0]),
        ...['a', 'b'].map((t) => session.query(two, [t])),
        session.query(one, [3]),
      ]),
    )
    expect(answers).toEqual([[{ n: 1 }], [{ n: 2 }], [], [{ t: 'a', more: 'x' }], [{ t: 'b', more: 'x' }], [{ n: 3 }]])
  })

  test('reads values as pg does: bytes, numbers, json, arrays, unicode', async () => {
    const sql = `select decode('00ff80', 'hex') as bytes, 7::bigint as big, 1.5::float8 as float, '{"a":[1]}'::jsonb as json, array['x','ü"'] as list, '🂡' as card`
    const [row] = await database.query(sql)
    expect(row).toEqual({ bytes: Buffer.from([0, 255, 128]), big: '7', float: 1.5, json: { a: [1] }, list: ['x', 'ü"'], card: '🂡' })
  })

  test('gives the error to the statement that failed and says of the later ones that they did not run', async () => {
    const outcomes = await database.use((session) =>
      Promise.allSettled([session.query('select 1 as n'), session.query('select 1 / 0'), session.query('select 2 as n')]),
    )
    expect(outcomes[0]).toMatchObject({ status: 'fulfilled' })
    expect(outcomes[1]).toMatchObject({ status: 'rejected', reason: { code: '22012' } })
    expect(outcomes[2]!.status === 'rejected' && outcomes[2]!.reason).toBeInstanceOf(StatementSkipped)
  })

  test('works on after an error', async () => {
    const rows = await database.use(async (session) => {
      await expect(session.query('select no_such_column')).rejects.toMatchObject({ code: '42703' })
      return session.query('select 3 as n')
    })
    expect(rows).toEqual([{ n: 3 }])
  })

  test('refuses a parameter without a wire form before anything of the turn is sent wrongly', async () => {
    const circular: Record<string, unknown> = {}
    circular['self'] = circular
    const outcomes = await database.use((session) =>
      Promise.allSettled([session.query('select 1 as n'), session.query('select $1::jsonb', [circular]), session.query('select 2 as n')]),
    )
    expect(outcomes.map((outcome) => outcome.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  })

  test('runs a script of several commands', async () => {
    await expect(database.query('select 1 as n; select 2 as n')).resolves.toEqual([{ n: 2 }])
  })

  test('keeps the order when the client itself is used in between', async () => {
    const seen = await database.use(async (session) => {
      await session.script('create temp table step (n serial, what text)')
      const first = session.query("insert into step (what) values ('session')")
      const second = session.client.query("insert into step (what) values ('client')")
      const third = session.query("insert into step (what) values ('session again')")
      await Promise.all([first, second, third])
      return session.query('select what from step order by n')
    })
    expect(seen.map((row) => row['what'])).toEqual(['session', 'client', 'session again'])
  })

  test('rejects everything asked when the server ends the connection', async () => {
    const session = await database.lease()
    const [{ pid }] = (await session.query<{ pid: number }>('select pg_backend_pid() as pid')) as [{ pid: number }]
    const outcomes = Promise.allSettled([session.query('select pg_sleep(60)'), session.query('select 1')])
    await database.query('select pg_terminate_backend($1)', [pid])
    expect((await outcomes).map((outcome) => outcome.status)).toEqual(['rejected', 'rejected'])
    expect(session.broken).not.toBeNull()
    session.release()
  })

  test('a statement that was never sent rejects when the connection is given back', async () => {
    const session = await database.lease()
    const unsent = session.query('select 1')
    session.release()
    await expect(unsent).rejects.toMatchObject({ code: 'TRANSACTION_CLOSED' })
  })
})

describe('COPY by the client', () => {
  // As they come to the server where the text does not give them away.
  const into = { text: 'copy entry from stdin' }
  const out = { text: 'copy entry to stdout' }
  const answers = (n: number) => ({ text: 'select $1::int as n', params: [n] })

  test('as the last statement of a round trip fails, and the connection is in step', async () => {
    await database.use(async (session) => {
      await expect(session.run([answers(1), into])).rejects.toThrow(/COPY FROM STDIN/)
      for (const n of [2, 3]) expect((await session.run([answers(n)]))[0]!.rows).toEqual([{ n }])
    })
  })

  test('before other statements of a round trip costs the connection, which the server gives up, and no more', async () => {
    await expect(database.use((session) => session.run([into, answers(1)]))).rejects.toThrow()
    await expect(database.query('select 1 as n')).resolves.toEqual([{ n: 1 }])
  })

  test('to the client fails wherever it stands, and the connection is in step', async () => {
    await database.query(`insert into entry values (900, 'x'), (901, 'y')`)
    await database.use(async (session) => {
      await expect(session.run([out])).rejects.toMatchObject({ code: 'INPUT_INVALID' })
      await expect(session.run([answers(1), out, answers(2)])).rejects.toMatchObject({ code: 'INPUT_INVALID' })
      for (const n of [2, 3]) expect((await session.run([answers(n)]))[0]!.rows).toEqual([{ n }])
    })
    await database.query('delete from entry where id in (900, 901)')
  })

  test('is refused before it is sent, so that what is asked beside it runs', async () => {
    await database.use(async (session) => {
      const outcomes = await Promise.allSettled([
        session.query('begin'),
        session.query(into.text),
        session.query('select 1 as n'),
        session.query('select 1; copy entry to stdout'),
        session.query('select 2 as n'),
      ])
      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled'])
      expect(await session.transactionStatus()).toBe('open')
      await session.query('rollback')
    })
  })
})

describe('a session that is given up', () => {
  const busy = () =>
    database.query(
      `select pid from pg_stat_activity where datname = current_database() and query like '%pg_sleep(41)%' and pid <> pg_backend_pid()`,
    )

  test('leaves no statement at work on the server, nor the locks of its transaction', async () => {
    const session = await database.lease()
    await session.query('set client_connection_check_interval = 0')
    const outcome = Promise.allSettled([session.query('begin'), session.query('lock table entry'), session.query('select pg_sleep(41)')])
    await until('it sleeps', async () => (await busy()).length === 1)
    const unsent = session.query('select 1').catch((error: unknown) => error)
    const from = performance.now()
    await session.giveUp()
    await until('nobody is at work', async () => (await busy()).length === 0)
    expect(performance.now() - from).toBeLessThan(2_000)
    expect((await outcome).at(-1)).toMatchObject({ status: 'rejected' })
    expect(await unsent).toMatchObject({ code: 'TRANSACTION_CLOSED' })
    await expect(database.query('select count(*)::int >= 0 as free from entry')).resolves.toEqual([{ free: true }])
  })

  test('is closed within its time, too, when nobody answers the request', async () => {
    const sockets: Socket[] = []
    const silent = createServer((client) => {
      sockets.push(client)
      // Only the first connection, which is the session's, leads anywhere.
      if (sockets.length > 1) return
      const upstream = connect(server.connection())
      sockets.push(upstream)
      client.pipe(upstream).pipe(client)
    }).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const through = new PostgresDatabase({ connection: () => ({ ...server.connection(), port: (silent.address() as AddressInfo).port }) })
    const session = await through.lease()
    const sleeping = session.query('select pg_sleep(2)').catch((error: unknown) => error)
    session.flush()
    await session.giveUp()
    expect(sockets).toHaveLength(3)
    expect(await sleeping).toBeInstanceOf(Error)
    for (const socket of sockets) socket.destroy()
    silent.close()
    await through.close()
  })
})

describe('a transaction', () => {
  test('commits what it did, with the last statements', async () => {
    await database.transaction(
      async (tx) => tx.query('insert into entry values ($1, $2)', [1, 'one']),
      async () => [{ text: 'insert into entry values ($1, $2)', params: [2, 'two'] }],
    )
    expect(await database.query('select id from entry where id in (1, 2) order by id')).toEqual([{ id: 1 }, { id: 2 }])
  })

  test('rolls back what was done when its work throws', async () => {
    const failing = database.transaction(async (tx) => {
      await tx.query('insert into entry values (10, null)')
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    expect(await database.query('select from entry where id = 10')).toEqual([])
  })

  test('rolls back what was done when the last statements fail', async () => {
    const failing = database.transaction(
      async (tx) => tx.query('insert into entry values (11, null)'),
      async () => [{ text: 'insert into entry values (11, null)' }],
    )
    await expect(failing).rejects.toMatchObject({ code: '23505' })
    expect(await database.query('select from entry where id = 11')).toEqual([])
  })

  test('is a failure when an error was swallowed', async () => {
    const failing = database.transaction(async (tx) => {
      await tx.query('insert into entry values (12, null)')
      await tx.query('select 1 / 0').catch(() => undefined)
    })
    await expect(failing).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED' })
    expect(await database.query('select from entry where id = 12')).toEqual([])
  })

  test('is not a failure when a savepoint undid the error', async () => {
    await database.transaction(async (tx) => {
      await tx.query('insert into entry values (13, null)')
      await tx.query('savepoint before')
      await tx.query('select 1 / 0').catch(() => undefined)
      await tx.query('rollback to savepoint before')
    })
    expect(await database.query('select id from entry where id = 13')).toEqual([{ id: 13 }])
  })

  test('begins before a statement on the raw client', async () => {
    const failing = database.transaction(async (tx) => {
      await tx.raw.query('insert into entry values (14, null)')
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    expect(await database.query('select from entry where id = 14')).toEqual([])
  })

  test('tells the status of a transaction, also after a statement failed', async () => {
    const statuses = await database.use(async (session) => {
      const seen = [await session.transactionStatus()]
      await session.query('begin')
      seen.push(await session.transactionStatus())
      await session.query('select 1 / 0').catch(() => undefined)
      seen.push(await session.transactionStatus())
      await session.query('rollback')
      return [...seen, await session.transactionStatus()]
    })
    expect(statuses).toEqual(['none', 'open', 'failed', 'none'])
  })

  test('a connection lost in mid-work is an error that may be retried, and gives the connection up', async () => {
    const failing = database.transaction(async (tx) => {
      const [{ pid }] = (await tx.query<{ pid: number }>('select pg_backend_pid() as pid')) as [{ pid: number }]
      await database.query('select pg_terminate_backend($1)', [pid])
      await tx.query('select 1')
    })
    await expect(failing).rejects.toMatchObject({ code: 'DATABASE_CONNECTION_LOST', retryable: true })
    await expect(database.query('select 1 as n')).resolves.toEqual([{ n: 1 }])
  })
})

describe('connecting', () => {
  test('says what was tried when nothing listens there, without the password', async () => {
    const nowhere = new PostgresDatabase({ connectionString: 'postgres://user:s3cret@127.0.0.1:1/shop' })
    const failure: unknown = await nowhere.query('select 1').catch((error: unknown) => error)
    expect(TidemarkError.is(failure, 'DATABASE_UNREACHABLE')).toBe(true)
    expect(String(failure)).toContain('127.0.0.1:1/shop')
    expect(JSON.stringify(failure) + String(failure)).not.toContain('s3cret')
    await nowhere.close()
  })

  test('revives once and tries again when the first attempt fails', async () => {
    let port = 1
    const revived = new PostgresDatabase({
      connection: () => ({ ...server.connection(), port }),
      revive: async () => {
        port = server.connection().port
      },
    })
    await expect(revived.query('select 1 as n')).resolves.toEqual([{ n: 1 }])
    await revived.close()
  })

  test('works on a pool that was given, and does not end it', async () => {
    const pool = new pg.Pool(server.connection())
    const given = new PostgresDatabase({ pool })
    await expect(given.query('select 1 as n')).resolves.toEqual([{ n: 1 }])
    await given.close()
    await expect(pool.query('select 1')).resolves.toBeDefined()
    await pool.end()
  })

  test('refuses options that name no server or two', () => {
    expect(() => new PostgresDatabase({})).toThrow(/exactly one/)
    expect(() => new PostgresDatabase({ connectionString: 'postgres://x', connection: () => server.connection() })).toThrow(/exactly one/)
  })
})

test('long, empty, missing and binary values arrive as they were sent', async () => {
  const values = ['', 'ü🂡'.repeat(5_000), null, Buffer.alloc(100_000, 0x80), Buffer.alloc(0), 'x'.repeat(300_000)]
  const [row] = await database.query(
    'select $1::text as a, $2::text as b, $3::text as c, $4::bytea as d, $5::bytea as e, $6::text as f',
    values,
  )
  expect(Object.values(row!)).toEqual(values)
})

test('a script keeps its place among statements that are not awaited', async () => {
  const seen = await database.use(async (session) => {
    await session.script('create temp table place (n serial, what text)')
    const add = (what: string): Promise<unknown> => session.query('insert into place (what) values ($1)', [what])
    const script = "insert into place (what) values ('script'); insert into place (what) values ('its end')"
    await Promise.all([
      add('before'),
      session.query(script),
      add('after'),
      session.query(script.replaceAll('script', 'another')),
      add('last'),
    ])
    return session.query('select what from place order by n')
  })
  expect(seen.map((row) => row['what'])).toEqual(['before', 'script', 'its end', 'after', 'another', 'its end', 'last'])
})

test('an error of a statement outside a transaction comes as it is, a lost connection as such', async () => {
  await expect(database.query('select no_such_column')).rejects.toMatchObject({ code: '42703' })
  await expect(database.query('select pg_terminate_backend(pg_backend_pid())')).rejects.toMatchObject({ code: 'DATABASE_CONNECTION_LOST' })
})
