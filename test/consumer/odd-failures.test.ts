import { type AddressInfo, type Socket, connect, createServer } from 'node:net'
import pg from 'pg'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { PostgresConsumerStore } from '../../src/drivers/postgres/postgres-consumer-store.ts'
import type { HandlerContext } from '../../src/consumer/index.ts'
import { counting } from '../retry/support/counting.ts'
import { byKey, consumerDatabase, countedRecord, memoryTopic, sequence, settledAll } from './support/consumer-database.ts'

/**
 * Failures of one message that look like something greater: an outage of the database, a conflict, errors that cannot even be looked at. Their message ends, and
 * all others take effect.
 */

const { url, consume, effects, rows, reset } = await consumerDatabase('odd_failures')
beforeEach(() => reset())

const letters = () =>
  rows<{ o: number; error_class: string }>('select log_offset::int as o, error_class from tidemark.dead_letter order by 1')
const retry = { maxAttempts: 2, baseDelayMs: 1, maxDelayMs: 5 }
const mixed = sequence(30).map((n) => countedRecord(`k${n % 10}`, n))
const bad = 13

/** As another server says it, in words and form. */
function errorOfAnotherServer(code: string): Error {
  const error = new pg.DatabaseError('terminating connection due to administrator command', 100, 'error')
  return Object.assign(error, { severity: 'FATAL', code })
}

const revoked = (): unknown => {
  const { proxy, revoke } = Proxy.revocable(new Error('gone'), {})
  revoke()
  return proxy
}

const throwing = Object.defineProperty(new Error('a getter that throws'), 'code', {
  get: () => {
    throw new Error('not even this')
  },
})
Object.assign(throwing, { severity: 'ERROR' })

const troubles: readonly (readonly [string, (context: HandlerContext) => unknown])[] = [
  ['a statement with parameters too many for its text', ({ tx }) => tx.query('select $1::text', ['a', 'b'])],
  ['more parameters than the protocol can count', ({ tx }) => tx.query('select 1', new Array<string>(70_000).fill('x'))],
  ['the shut-down of another server', () => Promise.reject(errorOfAnotherServer('57P01'))],
  ['a broken connection to another server, wrapped', () => Promise.reject(new Error('wrapped', { cause: errorOfAnotherServer('08006') }))],
  ['a serialisation failure of another server', () => Promise.reject(errorOfAnotherServer('40001'))],
  ['a proxy that was revoked', () => Promise.reject(revoked() as Error)],
  ['an error with a getter that throws', () => Promise.reject(throwing)],
]

/** They are charged only when they come again and again. */
const passing: typeof troubles = [
  ['a statement that ends its own connection', ({ tx }) => tx.query('select pg_terminate_backend(pg_backend_pid())')],
  ['a conflict that never ends', ({ tx }) => tx.query(`do $$ begin raise exception 'again' using errcode = '40001'; end $$`)],
]

async function ends(trouble: (context: HandlerContext) => unknown, effectFirst: boolean): Promise<void> {
  const { broker, send } = await memoryTopic(1)
  await send(mixed)
  const failing = counting(({ data }, context) => (data.n === bad ? trouble(context) : undefined), { effectFirst })
  await using consumer = consume(broker, [failing], { lanes: 1, retry, breaker: false, deadLetter: 'skip', batch: { maxMessages: 4 } })
  await settledAll(consumer, broker)
  const done = byKey(await effects())
  for (const n of sequence(10)) expect(done.get(`k${n}`)).toEqual([n, n + 10, n + 20].filter((one) => one !== bad))
  expect((await letters()).map(({ o }) => o)).toEqual([bad])
}

test.each(passing)('%s', (_what, trouble) => ends(trouble, true))

describe.each([false, true])('after the effect: %s', (effectFirst) => {
  test.each(troubles)('%s', (_what, trouble) => ends(trouble, effectFirst))
})

/** Lets what the server says of an error and what it says after it arrive apart, as a network may. */
async function splittingProxy(): Promise<{ readonly port: number; close(): Promise<void> }> {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
    }
    let rest = Buffer.alloc(0)
    let last = Promise.resolve()
    client.pipe(upstream)
    upstream.on('data', (bytes) => {
      last = last.then(async () => {
        rest = Buffer.concat([rest, bytes])
        let end = 0
        while (rest.length - end >= 5) {
          const next = end + 1 + rest.readInt32BE(end + 1)
          if (next > rest.length) break
          const isError = rest[end] === 'E'.charCodeAt(0)
          end = next
          if (!isError) continue
          client.write(rest.subarray(0, end))
          rest = rest.subarray(end)
          end = 0
          await new Promise((resolve) => setTimeout(resolve, 10))
        }
        client.write(rest.subarray(0, end))
        rest = rest.subarray(end)
      })
    })
    upstream.on('close', () => void last.then(() => client.destroy()))
    client.on('close', () => upstream.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

test('an error that a handler swallows on tx.raw is found out, however late the server says what became of the transaction', async () => {
  const proxy = await splittingProxy()
  afterAll(proxy.close)
  const through = new URL(url)
  through.host = `127.0.0.1:${proxy.port}`
  const database = new PostgresDatabase({ connectionString: through.href, maxConnections: 10 })
  const { broker, send } = await memoryTopic(1)
  await send(mixed)
  const swallowing = counting(
    async ({ data }, { tx }) => {
      if (data.n === bad) await (tx.raw as pg.PoolClient).query('select 1 / 0').catch(() => undefined)
    },
    { effectFirst: true },
  )
  {
    await using consumer = consume(broker, [swallowing], {
      lanes: 1,
      retry,
      deadLetter: 'skip',
      store: new PostgresConsumerStore({ database }),
    })
    await settledAll(consumer, broker)
  }
  await database.close()
  const done = byKey(await effects())
  for (const n of sequence(10)) expect(done.get(`k${n}`)).toEqual([n, n + 10, n + 20].filter((one) => one !== bad))
  expect(await letters()).toEqual([{ o: bad, error_class: 'TRANSACTION_ABORTED' }])
})
