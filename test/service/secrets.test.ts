import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inspect } from 'node:util'
import pg from 'pg'
import * as v from 'valibot'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { type Service, event, service, settled } from 'tidemark'
import { postgres, postgresBroker } from 'tidemark/postgres'
import { z } from 'zod'
import { main } from '../../src/cli/main.ts'
import { record, sender } from '../../src/conformance/broker/fixture.ts'
import type { MessageHandler } from '../../src/consumer/index.ts'
import { homeAt } from '../../src/drivers/postgres/embedded/home.ts'
import { embedded } from '../../src/drivers/postgres/embedded/index.ts'
import type { Header } from '../../src/message/port.ts'
import { channels } from '../../src/telemetry/channels.ts'
import { startProgram } from '../support/child-program.ts'
import { FaultProxy } from '../support/fault-proxy.ts'
import { testDatabase } from '../support/postgres.ts'
import { makeServerDirectory, removeServerDirectory } from '../support/test-run.ts'
import { until } from '../support/until.ts'

/**
 * SECURITY.md, "Secrets": passwords and payloads go in by every way there is, errors of every kind are provoked, and what comes out is searched:
 * errors with all they carry, diagnostics, status, dead letters.
 */

const password = 'correct-horse/battery?staple'
/** As it might be written: plain, or as a part of a URL. */
const forms = [password, encodeURIComponent(password), 'battery', 'horse']
/** In the payload, the headers, the key and the ids. */
const payload = 'patient-0815'

const own = await testDatabase('secrets')
const { host, port, database } = own.connection()
const admin = own.pool({ max: 2 })
const role = `${database}_role`

beforeAll(async () => {
  await admin.query(`create role ${role} login password '${password}'`)
  await admin.query(`grant create on database ${database} to ${role}; grant create on schema public to ${role}`)
  await admin.query(`grant execute on function pg_control_system() to ${role}`)
})
afterAll(async () => {
  await admin.query(`drop owned by ${role}; drop role ${role}`)
})

interface Way {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly password: string
}

const right: Way = { host, port, database, password }

/** Every way in for a password. */
const ways: Readonly<Record<string, (way: Way) => Parameters<typeof postgres>[0]>> = {
  'a URL': (way) => ({
    connectionString: `postgres://${role}:${encodeURIComponent(way.password)}@${way.host}:${way.port}/${way.database}`,
  }),
  'the parameters of a URL': (way) => ({
    connectionString: `postgresql://${way.host}:${way.port}/${way.database}?user=${role}&password=${encodeURIComponent(way.password)}`,
  }),
  'the option password': (way) => ({ connection: () => ({ ...way, user: role }) }),
  'a pool of your own': (way) => ({ pool: poolOf({ ...way, user: role }) }),
  PGPASSWORD: (way) => {
    process.env['PGPASSWORD'] = way.password
    return { connectionString: `postgres://${role}@${way.host}:${way.port}/${way.database}` }
  },
}

const pools: pg.Pool[] = []
function poolOf(config: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool({ ...config, connectionTimeoutMillis: 5_000 })
  pool.on('error', () => undefined)
  pools.push(pool)
  return pool
}

const passwordBefore = process.env['PGPASSWORD']
afterEach(async () => {
  if (passwordBefore === undefined) delete process.env['PGPASSWORD']
  else process.env['PGPASSWORD'] = passwordBefore
  await Promise.all(pools.splice(0).map((pool) => pool.end()))
})

/** Everything that anybody could print of a value: its own words, its stack, all properties, hidden ones included, and its causes. */
function everythingOf(value: unknown): string {
  const options = { depth: 12, showHidden: true, getters: false, maxArrayLength: null, maxStringLength: null } as const
  return [inspect(value, options), value instanceof Error ? `${value.message} ${value.stack ?? ''}` : '', json(value)].join('\n')
}

/** Properties, own and hidden, as a logger would write them. */
function json(value: unknown): string {
  const seen = new Set<unknown>()
  return (
    JSON.stringify(value, (_, inner: unknown) => {
      if (typeof inner === 'bigint') return String(inner)
      if (typeof inner !== 'object' || inner === null) return inner
      if (seen.has(inner)) return undefined
      seen.add(inner)
      return inner instanceof Error
        ? Object.fromEntries(Object.getOwnPropertyNames(inner).map((name) => [name, (inner as never)[name]]))
        : inner
    }) ?? ''
  )
}

function expectNoPassword(text: string): void {
  for (const form of forms) expect(text).not.toContain(form)
}

async function errorOf(work: () => Promise<unknown>): Promise<Error & { readonly code?: string }> {
  try {
    await work()
  } catch (error) {
    return error as Error
  }
  throw new Error('Expected an error.')
}

describe.each(Object.entries(ways))('a password given by %s', (_, optionsOf) => {
  const failures: Readonly<Record<string, { readonly way: Way; readonly code: RegExp }>> = {
    'a server that is not there': { way: { ...right, port: 1 }, code: /DATABASE_UNREACHABLE/ },
    'a host that is not there': { way: { ...right, host: 'no-such-host.invalid' }, code: /DATABASE_UNREACHABLE/ },
    'a wrong password': { way: { ...right, password: `${password}!` }, code: /DATABASE_UNREACHABLE/ },
    'an unknown database': { way: { ...right, database: 'no_such_database' }, code: /DATABASE_UNREACHABLE/ },
  }

  test.each(Object.entries(failures))('is not told by the error of %s', async (_, { way, code }) => {
    const broker = postgresBroker(optionsOf(right))
    const shop = service('shop', { database: postgres(optionsOf(way)), broker })
    const error = await errorOf(() => shop.query('select 1'))
    expect(error.code).toMatch(code)
    expectNoPassword(everythingOf(error))
    expectNoPassword(everythingOf(shop))
    await shop.stop()
  })

  test('is not told by the broker either', async () => {
    const broker = postgresBroker(optionsOf({ ...right, port: 1 }))
    const error = await errorOf(() => broker.topics([{ name: 'events' }]))
    expect(error.code).toBe('BROKER_UNREACHABLE')
    expectNoPassword(everythingOf(error))
    expectNoPassword(everythingOf(broker))
    await broker.close()
  })

  test('is not told by a connection that breaks, a migration that fails, and the transaction itself', async () => {
    const proxy = await FaultProxy.start(() => ({ host, port }))
    const shop = service('shop', {
      database: postgres(optionsOf({ ...right, host: '127.0.0.1', port: proxy.port })),
      broker: postgresBroker(optionsOf(right)),
    })
    const lost = await errorOf(() =>
      shop.transaction(async (tx) => {
        expectNoPassword(everythingOf(tx))
        expectNoPassword(inspect(tx.raw, { depth: 12 }))
        proxy.resetAll()
        await tx.query('select 1')
      }),
    )
    expect(lost.code).toBe('DATABASE_CONNECTION_LOST')
    expectNoPassword(everythingOf(lost))
    const status = await shop.status()
    expectNoPassword(everythingOf(status))
    await admin.query('drop schema tidemark cascade; create schema tidemark; create table tidemark.outbox_part (x int)')
    const again = service('shop', { database: postgres(optionsOf(right)), broker: postgresBroker(optionsOf(right)) })
    expectNoPassword(everythingOf(await errorOf(() => again.query('select 1'))))
    await admin.query('drop schema tidemark cascade')
    await Promise.all([shop.stop(), again.stop()])
    await proxy.close()
  })
})

test.each([
  `host=${host} port=${port} user=me password=${password} dbname=shop`,
  `me:${password}@${host}/shop`,
  `postgres://me:12/${password}@${host}/shop`,
])('a connection string that is none is refused, not taken for the name of a host or database: %#', async (connectionString) => {
  const error = await errorOf(() =>
    service('shop', { database: postgres({ connectionString }), broker: postgresBroker({ connection: () => own.connection() }) }).query(
      'select 1',
    ),
  )
  expect(error.code).toBe('CONFIG_INVALID')
  expectNoPassword(everythingOf(error))
})

// ---- payloads

const ids = 'case-4711'
const Admitted = event('Admitted', {
  aggregate: 'patient',
  key: (data) => data.who,
  schema: z.object({ who: z.string(), n: z.number() }),
})
const AdmittedByValibot = event('AdmittedByValibot', {
  aggregate: 'patient',
  key: (data) => data.who,
  schema: v.object({ who: v.picklist(['nobody'], (issue) => `${String(issue.input)} is not known`), n: v.number() }),
})

/** What the library says while it works: diagnostics, warnings, output. */
class Heard {
  readonly #texts: string[] = []
  readonly #hear = (message: unknown, name: string | symbol): void => void this.#texts.push(`${String(name)} ${everythingOf(message)}`)
  readonly #warn = (warning: Error): void => void this.#texts.push(everythingOf(warning))
  readonly #output = [process.stdout, process.stderr].map((stream) =>
    vi.spyOn(stream, 'write').mockImplementation((text) => this.#texts.push(String(text)) > 0),
  )

  constructor() {
    for (const { name } of Object.values(channels)) subscribe(name, this.#hear)
    process.on('warning', this.#warn)
  }

  stop(): string {
    for (const { name } of Object.values(channels)) unsubscribe(name, this.#hear)
    process.off('warning', this.#warn)
    for (const spy of this.#output) spy.mockRestore()
    return this.#texts.join('\n')
  }
}

describe('a payload, a key, a header or an id', () => {
  test.each([
    ['a schema of zod', Admitted, { who: payload, n: payload }, {}],
    ['a schema of valibot', AdmittedByValibot, { who: payload, n: 1 }, {}],
    ['data without a form in JSON', event('Big', { aggregate: 'p', key: () => 'k', schema: v.any() }), { [payload]: { a: 1n } }, {}],
    ['a key with a NUL', Admitted, { who: `${payload}\0`, n: 1 }, {}],
    ['a key that is too long', Admitted, { who: payload.repeat(1_000), n: 1 }, {}],
    ['a header that cannot be carried', Admitted, { who: 'x', n: 1 }, { headers: { note: `${payload}\0` } }],
    ['a correlation id that cannot be carried', Admitted, { who: 'x', n: 1 }, { correlationId: `${ids}\0` }],
    ['a causation id that cannot be carried', Admitted, { who: 'x', n: 1 }, { causationId: `${ids}\0` }],
    ['a subject that cannot be carried', Admitted, { who: 'x', n: 1 }, { subject: `${ids}\0` }],
    ['a trace that is none', Admitted, { who: 'x', n: 1 }, { traceparent: ids }],
  ])('is not told when it is refused at publishing: %s', async (_, definition, data, options) => {
    const shop = service('shop', { database: postgres({ connection: () => own.connection() }), broker: log() })
    const error = await errorOf(() => shop.transaction((tx) => shop.publish(tx, definition as typeof Admitted, data as never, options)))
    expect(error.code).toMatch(/EVENT_INVALID|INPUT_INVALID/)
    expect(everythingOf(error)).not.toContain(payload)
    expect(everythingOf(error)).not.toContain(ids)
    await shop.stop()
  })

  const brokers: ReturnType<typeof postgresBroker>[] = []
  function log(): ReturnType<typeof postgresBroker> {
    const broker = postgresBroker({ connection: () => own.connection(), maxRecordBytes: 2_000, defaultPartitions: 1 })
    brokers.push(broker)
    return broker
  }
  afterEach(async () => {
    await Promise.all(brokers.splice(0).map((broker) => broker.close()))
  })

  /** All the attempts there are, but soon after each other. */
  const soon = { retry: { baseDelayMs: 20, maxDelayMs: 100 }, retryPollMs: 20 }

  const harms: Readonly<Record<string, MessageHandler<typeof Admitted>>> = {
    'a unique violation, whose detail names the values': async ({ data }, { tx }) => {
      await tx.query('insert into ward values ($1)', [data.who])
      await tx.query('insert into ward values ($1)', [data.who])
    },
    'a value that Postgres quotes': async ({ data }, { tx }) => void (await tx.query('select $1::text::int', [data.who])),
    'a row that Postgres quotes': async ({ data }, { tx }) => void (await tx.query('insert into bed values ($1, null)', [data.who])),
    'words of its own': async ({ data, headers }) => {
      throw new Error(`${data.who} was refused, ${headers['note']}`, { cause: new Error(data.who) })
    },
    'something that is no error': async ({ data }) => {
      // eslint-disable-next-line @typescript-eslint/only-throw-error -- handlers throw whatever they like
      throw data.who
    },
    'a deadlock, reported in words of its own': async ({ data }) => {
      throw Object.assign(new Error(`deadlock with ${data.who}`), { code: '40P01' })
    },
    'a statement whose error it swallows': async ({ data }, { tx }) => {
      await tx.query('select $1::text::int', [data.who]).catch(() => undefined)
    },
    'a lost connection, reported in words of its own': async ({ data }, { tx }) => {
      const { rowCount } = await admin.query('update bed set lost = lost - 1 where lost > 0')
      if (rowCount === 0) return
      await tx.query('select pg_terminate_backend(pg_backend_pid())').catch(() => undefined)
      throw new Error(`could not store ${data.who}`)
    },
  }

  /** What is heard, and what the status says, while this is on its way to its end. */
  async function hearing(shop: Service, publish: () => Promise<unknown>): Promise<string> {
    const heard = new Heard()
    const statuses: string[] = []
    const look = (): Promise<unknown> => shop.status().then((status) => statuses.push(everythingOf(status)))
    const looking = setInterval(() => void look().catch(() => undefined), 5)
    try {
      await shop.start()
      await publish()
      await settled([shop])
      await look()
    } finally {
      clearInterval(looking)
      await shop.stop()
      statuses.push(heard.stop())
    }
    return statuses.join('\n')
  }

  const letters = async (): Promise<{ reason: string; stack: string | null }[]> =>
    (await admin.query<{ reason: string; stack: string | null }>('select reason, stack from tidemark.dead_letter order by log_offset')).rows

  beforeEach(async () => {
    await admin.query('drop table if exists ward, bed; create table ward (who text primary key)')
    await admin.query(`create table bed (who text, lost int not null default 2); insert into bed values ('nobody', 2)`)
    await admin.query('drop schema if exists tidemark cascade')
  })

  test.each(Object.entries(harms))('is in the dead letter at most, when a handler fails with %s', async (name, handle) => {
    const shop = service('shop', { database: postgres({ connection: () => own.connection() }), broker: log(), consumer: soon })
    shop.consume(Admitted, { deadLetter: 'skip' }, handle)
    const text = await hearing(shop, () =>
      shop.transaction((tx) => shop.publish(tx, Admitted, { who: payload, n: 1 }, { headers: { note: payload }, correlationId: ids })),
    )
    expect(text).toContain('tidemark:consumer:')
    expect(text).not.toContain(payload)
    expect(text).not.toContain(ids)
    expect(await letters()).toHaveLength(name.startsWith('a lost connection') ? 0 : 1)
    expectNoPassword(everythingOf(await letters()))
  })

  test('is in the dead letter with what the handler said: it is kept beside the message itself', async () => {
    const shop = service('shop', { database: postgres({ connection: () => own.connection() }), broker: log(), consumer: soon })
    shop.consume(Admitted, { deadLetter: 'skip' }, harms['words of its own']!)
    await hearing(shop, () => shop.transaction((tx) => shop.publish(tx, Admitted, { who: payload, n: 1 })))
    expect((await letters())[0]!.reason).toContain(payload)
  })

  test('is not told when it cannot be decoded, or does not satisfy the schema of the one who handles it', async () => {
    const broker = log()
    const shop = service('shop', { database: postgres({ connection: () => own.connection() }), broker, consumer: soon })
    shop.consume(Admitted, { deadLetter: 'skip' }, () => undefined)
    const values = [`{"who": "${payload}", `, `"${payload}"`, Buffer.from([0xff, ...Buffer.from(payload)]), `{"who": {"${payload}": 1}}`]
    const type: Header = ['ce_type', Buffer.from('Admitted')]
    const foreign: readonly Header[] = [
      ['ce_schemaversion', Buffer.from('1')],
      ['note', Buffer.from(payload)],
    ]
    const text = await hearing(shop, async () => {
      const { send } = await sender(broker, Admitted.topic)
      await send(...values.map((value) => record(Admitted.topic, 0, value, { key: Buffer.from(ids), headers: [type, ...foreign] })))
      await send(record(Admitted.topic, 0, payload, { headers: [type, ['ce_schemaversion', Buffer.from(payload)]] }))
      await send(record(Admitted.topic, 0, payload, { headers: [type, ['content-type', Buffer.from(`text/${payload}`)]] }))
    })
    expect(text).not.toContain(payload)
    expect(text).not.toContain(ids)
    expect(await letters()).toHaveLength(6)
    for (const { reason, stack } of (await letters()).slice(0, 4)) expect(`${reason} ${stack}`).not.toContain(payload)
  })

  test('is not told when the broker refuses it; the key is, where parked keys are listed', async () => {
    const shop = service('shop', { database: postgres({ connection: () => own.connection() }), broker: log() })
    const data = { who: ids, n: 1, note: payload.repeat(500) }
    const Noted = event('Noted', {
      aggregate: 'patient',
      key: () => ids,
      schema: v.object({ who: v.string(), n: v.number(), note: v.string() }),
    })
    const heard = new Heard()
    await shop.start()
    await shop.transaction((tx) => shop.publish(tx, Noted, data))
    await until('its key is parked', async () => (await admin.query('select from tidemark.relay_parked')).rowCount === 1)
    const status = everythingOf(await shop.status())
    await shop.stop()
    const { stdout, stderr } = await cli('outbox', 'parked', '--url', own.connectionString())
    expect(heard.stop() + status).not.toContain(payload)
    expect(heard.stop() + status).not.toContain(ids)
    expect(stdout).toContain(`patient/${ids}`)
    expect(stdout + stderr).not.toContain(payload)
  })
})

// ---- programs

async function cli(...argv: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return cliWith({}, ...argv)
}

async function cliWith(env: Record<string, string>, ...argv: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const said = { stdout: '', stderr: '' }
  const write = (name: 'stdout' | 'stderr') => ({ write: (text: string) => (said[name] += text) })
  const code = await main(argv, { stdout: write('stdout'), stderr: write('stderr'), env, user: 'tester' })
  return { code, ...said }
}

const encoded = encodeURIComponent(password)
const badUrls = [
  `postgres://${role}:${encoded}!@${host}:${port}/${database}`,
  `postgres://${role}:${encoded}@${host}:1/${database}`,
  `postgres://${role}:${encoded}@${host}:${port}/no_such_database`,
  `postgres://${host}:${port}/no_such_database?user=${role}&password=${encoded}`,
  `postgres://${role}:12/${password}@${host}:${port}/${database}`,
  `${role}:${password}@${host}/${database}`,
  `host=${host} password=${password} dbname=${database}`,
]

describe('the command line', () => {
  test.each(badUrls.map((url) => ({ url })))('says no password, wherever it was typed: %#', async ({ url }) => {
    const calls = [
      ['migrate', '--url', url],
      ['outbox', 'status', `--url=${url}`],
      ['outbox', 'parked', '--url', url],
      ['migrate', url],
      [url],
      ['migrate', '--schema', url],
      ['migrate', '--set', url],
      ['outbox', 'release', url, '--url', url],
      ['migrate', `--ulr=${url}`],
      ['migrate', `--yes=${url}`],
    ]
    for (const argv of calls) {
      for (const json of [[], ['--json']]) {
        const { code, stdout, stderr } = await cli(...argv, ...json)
        expect(code, argv.join(' ')).toBeGreaterThan(0)
        expectNoPassword(stdout + stderr)
      }
    }
  })

  test.each(badUrls.map((url) => ({ url })))('says none that stands in DATABASE_URL: %#', async ({ url }) => {
    const { code, stdout, stderr } = await cliWith({ DATABASE_URL: url }, 'migrate')
    expect(code).toBeGreaterThan(0)
    expectNoPassword(stdout + stderr)
  })
})

test.each(badUrls.map((url) => ({ url })))('the shop says no password: %#', async ({ url }) => {
  const { code, stdout, stderr } = await startProgram(new URL('../../examples/shop/main.ts', import.meta.url), [
    '--once',
    '--json',
    '--limit',
    '1',
    '--database',
    url,
  ]).ended
  expect(code).toBeGreaterThan(0)
  expectNoPassword(stdout + stderr)
})

test('an embedded server that does not start, or does not take its password, tells none', async () => {
  const directory = await makeServerDirectory()
  onTestFinished(() => removeServerDirectory(directory))
  const home = homeAt(join(directory, 'postgres'))
  const broken = await errorOf(() => embedded({ directory: home.directory, settings: { max_connections: 'many' } }).acquire())
  expect(broken.code).toBe('EMBEDDED_FAILED')
  const made = (await readFile(home.password, 'utf8')).trim()
  expect(made.length).toBeGreaterThan(15)
  expect(everythingOf(broken)).not.toContain(made)
  const lease = await embedded({ directory: home.directory }).acquire()
  expect(lease.connection('postgres').password).toBe(made)
  expect(everythingOf(lease)).not.toContain(made)
  await lease.release()
  await writeFile(home.password, `${made}x`)
  const refused = await errorOf(() => embedded({ directory: home.directory }).acquire())
  expect(refused.message).toContain('does not take the password')
  expect(everythingOf(refused)).not.toContain(made)
})
