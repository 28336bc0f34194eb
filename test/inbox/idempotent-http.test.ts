import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { PostgresDatabase, PostgresLedgerStore, migrate } from '../../src/drivers/postgres/index.ts'
import { type IdempotentHandler, type IdempotentOptions, idempotent, ledger } from '../../src/inbox/index.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { listen } from './support/listen.ts'

const { connectionString } = await testDatabase('idempotent_http')
const database = new PostgresDatabase({ connectionString: connectionString(), maxConnections: 6 })
afterAll(() => database.close())
const api = ledger({ store: new PostgresLedgerStore({ database }), scope: 'api' })

beforeAll(async () => {
  await migrate(database, { set: 'service' })
  await database.query('create table placed (id text)')
})

interface Served {
  send(options?: { key?: string | null; caller?: string; body?: string; path?: string; method?: string }): Promise<Response>
  readonly runs: () => number
}

/** A server of `handler`; each test has keys of its own. */
async function serve(handler: IdempotentHandler, options: Partial<IdempotentOptions> = {}): Promise<Served> {
  let runs = 0
  const counted: IdempotentHandler = (request, context) => {
    runs += 1
    return handler(request, context)
  }
  const own = randomUUID()
  const caller = (request: Request): string => `${own} ${request.headers.get('authorization')}`
  const { url, close } = await listen(idempotent(counted, { ledger: api, caller, ...options }))
  onTestFinished(close)
  return {
    runs: () => runs,
    send: ({ key = 'k-1', caller = 'Bearer me', body = '{"id":1}', path = '/orders', method = 'POST' } = {}) =>
      fetch(`${url}${path}`, {
        method,
        headers: { authorization: caller, ...(key === null ? {} : { 'idempotency-key': key }) },
        ...(method === 'GET' ? {} : { body }),
      }),
  }
}

const place: IdempotentHandler = async (request) => {
  const text = await request.text()
  return Response.json({ place: randomUUID(), text }, { status: 201, headers: { location: '/orders/1', 'set-cookie': 'session=secret' } })
}

async function whole(response: Response): Promise<[status: number, location: string | null, body: string]> {
  return [response.status, response.headers.get('location'), await response.text()]
}

test('a repeat gets the same status, headers and bytes, marked as a repeat, and no cookie', async () => {
  const { send, runs } = await serve(place)
  const first = await send()
  const second = await send()
  expect(second.headers.get('idempotency-replayed')).toBe('true')
  expect([first.headers.get('set-cookie'), second.headers.get('set-cookie')]).toEqual(['session=secret', null])
  const [status, location, body] = await whole(first)
  expect([status, location, JSON.parse(body)]).toMatchObject([201, '/orders/1', { text: '{"id":1}' }])
  expect(await whole(second)).toEqual([status, location, body])
  expect(runs()).toBe(1)
})

test('bytes that are no text come back as they were, and so does a response without a body', async () => {
  const bytes = randomBytes(70_000)
  const { send } = await serve(async (request) => {
    return request.url.endsWith('/empty') ? new Response(null, { status: 204 }) : new Response(new Uint8Array(bytes))
  })
  for (let run = 0; run < 2; run++) expect(Buffer.compare(Buffer.from(await (await send()).arrayBuffer()), bytes)).toBe(0)
  for (let run = 0; run < 2; run++) expect((await send({ path: '/empty', key: 'k-2' })).status).toBe(204)
})

test.each<[what: string, key: string | null, status: number]>([
  ['missing', null, 400],
  ['empty', '""', 400],
  ['two keys', 'a, b', 400],
  ['an open quotation', '"a', 400],
  ['too long', 'x'.repeat(256), 400],
])('a key that is %s is refused with a problem', async (_what, key, status) => {
  const { send, runs } = await serve(place)
  const response = await send({ key })
  expect([response.status, response.headers.get('content-type')]).toEqual([status, 'application/problem+json'])
  expect(await response.json()).toMatchObject({ status, type: 'about:blank', title: expect.stringContaining('Idempotency-Key') as string })
  expect(runs()).toBe(0)
})

test('a key in quotation marks is the same as without', async () => {
  const { send, runs } = await serve(place)
  expect(await whole(await send({ key: '"k 1\\""' }))).toEqual(await whole(await send({ key: '"k 1\\""; p=1' })))
  expect(await whole(await send({ key: 'k-2' }))).toEqual(await whole(await send({ key: '"k-2"' })))
  expect(runs()).toBe(2)
})

test('without a key where none is required, and with a method that takes none, the handler runs each time', async () => {
  const { send, runs } = await serve(async (_request, { key }) => Response.json(key), { required: false })
  for (const options of [{ key: null }, { key: null }, { method: 'GET' }, { method: 'GET' }])
    expect(await (await send(options)).json()).toBeNull()
  expect(runs()).toBe(4)
})

test('another body, path or method under a used key is refused with 422', async () => {
  const { send, runs } = await serve(place)
  await send()
  for (const other of [{ body: '{"id":2}' }, { path: '/orders?x' }, { method: 'PATCH' }]) expect((await send(other)).status).toBe(422)
  expect((await send()).status).toBe(201)
  expect(runs()).toBe(1)
})

test('two callers with the same key never see each other’s responses, nor does the table hold who they are', async () => {
  const { send } = await serve(async (request) => new Response(request.headers.get('authorization')))
  for (let run = 0; run < 2; run++)
    for (const caller of ['Bearer alice', 'Bearer bob']) expect(await (await send({ caller })).text()).toBe(caller)
  const rows = await database.query(`select identity from tidemark.idempotency_key`)
  expect(JSON.stringify(rows)).not.toMatch(/alice|bob/)
})

test('while a request is being worked on, others with its key get 409 and when to come again; of many at once one runs', async () => {
  let end: () => void = () => undefined
  const ended = new Promise<void>((resolve) => (end = resolve))
  const { send, runs } = await serve(
    async () => {
      await ended
      return new Response('done')
    },
    { retryAfterSeconds: 7 },
  )
  const all = Array.from({ length: 12 }, () => send())
  await until('one runs', () => runs() === 1)
  const other = await send()
  expect([other.status, other.headers.get('retry-after')]).toEqual([409, '7'])
  end()
  const statuses = (await Promise.all(all)).map(({ status }) => status)
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(1)
  expect(statuses.every((status) => status === 200 || status === 409)).toBe(true)
  expect(await (await send()).text()).toBe('done')
  expect(runs()).toBe(1)
})

test('a request that waits for one being worked on gets its response', async () => {
  const { send, runs } = await serve(place, { waitMs: 10_000 })
  const bodies = await Promise.all(Array.from({ length: 5 }, async () => (await send()).text()))
  expect(new Set(bodies).size).toBe(1)
  expect(runs()).toBe(1)
})

test('a response of the server’s failure is not stored, nor is what a handler throws; one of the client’s failure is', async () => {
  let status = 503
  const { send, runs } = await serve(async () => {
    if (status === 0) throw new Error('broken')
    return new Response(null, { status })
  })
  expect((await send()).status).toBe(503)
  status = 0
  expect((await send()).status).toBe(500)
  status = 404
  expect((await send()).status).toBe(404)
  status = 200
  expect((await send()).status).toBe(404)
  expect(runs()).toBe(3)
})

test('a request whose response breaks off is of unknown outcome: nobody is told to come again', async () => {
  const { send, runs } = await serve(async () => {
    return new Response(new ReadableStream({ pull: (controller) => controller.error(new Error('broken')) }))
  })
  expect((await send()).status).toBe(500)
  const second = await send()
  expect([second.status, second.headers.get('retry-after')]).toEqual([409, null])
  expect(runs()).toBe(1)
})

test('a request that is too large is refused, and a response that is too large reaches its client and is not made again', async () => {
  const { send, runs } = await serve(async (request) => new Response('y'.repeat(Number(await request.text()))), {
    maxRequestBytes: 5,
    maxResponseBytes: 100_000,
  })
  expect((await send({ body: '123456' })).status).toBe(413)
  expect((await (await send({ body: '99999', key: 'k-2' })).text()).length).toBe(99_999)
  expect((await (await send({ body: '99999', key: 'k-2' })).text()).length).toBe(99_999)
  const large = await serve(async () => new Response('y'.repeat(500_000)), { maxResponseBytes: 100_000 })
  expect((await (await large.send()).text()).length).toBe(500_000)
  expect((await large.send()).status).toBe(409)
  expect([runs(), large.runs()]).toEqual([1, 1])
})

test('a response that is stored with the effect is there exactly if the effect is', async () => {
  let fails = true
  const { send, runs } = await serve(async (request, { commitWith }) => {
    const body = await request.text()
    return database.transaction(async (tx) => {
      await tx.query('insert into placed values ($1)', [body])
      const response = await commitWith(tx, Response.json({ run: runs() }))
      if (fails) throw new Error('after the storing')
      return response
    })
  })
  const body = randomUUID()
  expect((await send({ body })).status).toBe(500)
  fails = false
  expect(await (await send({ body })).json()).toEqual({ run: 2 })
  expect(await (await send({ body })).json()).toEqual({ run: 2 })
  expect(await database.query('select from placed where id = $1', [body])).toHaveLength(1)
})

test('a handler that was taken for dead cannot commit beside its successor', async () => {
  let goOn: () => void = () => undefined
  const told = new Promise<void>((resolve) => (goOn = resolve))
  const { send, runs } = await serve(
    async (request, { commitWith }) => {
      const body = await request.text()
      const run = runs()
      return database.transaction(async (tx) => {
        await tx.query('insert into placed values ($1)', [body])
        if (run === 1) await told
        return commitWith(tx, Response.json({ run }))
      })
    },
    { afterCrash: 'run again' },
  )
  const body = randomUUID()
  const first = send({ body })
  await until('the first runs', () => runs() === 1)
  // As if its process had stood still for the length of its lease.
  await database.query(`update tidemark.idempotency_key set lease_until = clock_timestamp() where state = 'in progress'`)
  expect(await (await send({ body })).json()).toEqual({ run: 2 })
  goOn()
  expect((await first).status).toBe(500)
  expect(await (await send({ body })).json()).toEqual({ run: 2 })
  expect(await database.query('select from placed where id = $1', [body])).toHaveLength(1)
})
