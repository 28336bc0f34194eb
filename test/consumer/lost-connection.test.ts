import { afterAll, beforeEach, expect, test } from 'vitest'
import { onMessage } from '../../src/consumer/index.ts'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { PostgresConsumerStore } from '../../src/drivers/postgres/postgres-consumer-store.ts'
import { until } from '../support/until.ts'
import { FaultProxy, type ProxiedConnection } from '../support/fault-proxy.ts'
import {
  byKey,
  consumerDatabase,
  countEffect,
  countedRecord,
  insertEffect,
  memoryTopic,
  sequence,
  settledAll,
} from './support/consumer-database.ts'

const { url, consume, effects, rows, reset } = await consumerDatabase('lost')
const target = new URL(url)
const proxy = await FaultProxy.start(() => ({ host: target.hostname, port: Number(target.port) }))
afterAll(() => proxy.close())
const through = new URL(url)
through.port = String(proxy.port)
const database = new PostgresDatabase({ connectionString: through.href, maxConnections: 6 })
afterAll(() => database.close())
const store = new PostgresConsumerStore({ database })

beforeEach(async () => {
  proxy.rules = {}
  await reset()
})

const keys = ['a', 'b', 'c', 'd', 'e', 'f']
const messages = (to: number, from = 0) => sequence(to - from, from).flatMap((n) => keys.map((key) => countedRecord(key, n)))

/** Breaks so many commits of batches, as they pass on the wire to the server. The statements before it in the same piece tell a batch's commit. */
function breakCommits(most: number, how: (connection: ProxiedConnection) => void): { readonly broken: number } {
  const done = { broken: 0 }
  proxy.rules = {
    toServer(data, connection) {
      if (done.broken === most || !data.includes('commit') || !data.includes('consumer_position')) return
      done.broken += 1
      how(connection)
    },
  }
  return done
}

async function expectOnce(count: number): Promise<void> {
  expect(Object.fromEntries(byKey(await effects()))).toEqual(Object.fromEntries(keys.map((key) => [key, sequence(count)])))
}

test('a commit whose reply is lost is looked up: it took effect, and is not done again', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(messages(50))
  const commits = breakCommits(5, (connection) => {
    // The server gets it whole, and its answer goes nowhere.
    connection.muteServer()
    setTimeout(() => connection.reset(), 100)
  })
  await using consumer = consume(broker, [countEffect], { store, batch: { maxMessages: 20 } })
  await settledAll(consumer, broker)
  await expectOnce(50)
  expect(commits.broken).toBe(5)
  expect(consumer.status().counts).toMatchObject({ retries: 0, deadLetters: 0 })
})

test('a commit that never reached the server is looked up: it did not take effect, and is done', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(messages(50))
  const commits = breakCommits(5, (connection) => connection.reset())
  await using consumer = consume(broker, [countEffect], { store, batch: { maxMessages: 20 } })
  await settledAll(consumer, broker)
  await expectOnce(50)
  expect(commits.broken).toBe(5)
})

test('a commit that the server decides only after its batch was run again takes effect once', async () => {
  const { broker, send } = await memoryTopic(1)
  // The commit waits in the server, on a deferred trigger, while its connection is already gone.
  await rows(`create or replace function linger() returns trigger language plpgsql as 'begin perform pg_sleep(0.4); return null; end'`)
  await rows(
    'create constraint trigger linger after insert on effect deferrable initially deferred for each row when (new.n = 3) execute function linger()',
  )
  await send([countedRecord('a', 3), countedRecord('a', 4)])
  const commits = breakCommits(1, (connection) => void setTimeout(() => connection.reset(), 50))
  await using consumer = consume(broker, [countEffect], { store, lanes: 1 })
  await settledAll(consumer, broker)
  await rows('drop trigger linger on effect')
  expect((await effects()).map(({ n }) => n)).toEqual([3, 4])
  expect(commits.broken).toBe(1)
})

test('connections reset at random moments lose and double nothing, and charge nobody', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(messages(120))
  const stepping = onMessage(countEffect.definition, async (message, { tx }) => {
    const { key, n } = message.data as { key: string; n: number }
    await tx.query('select 1')
    await tx.query(insertEffect, [message.id, key, n])
  })
  await using consumer = consume(broker, [stepping], { store, batch: { maxMessages: 15 } })
  let resets = 0
  const breaking = setInterval(() => {
    if (++resets > 12) return
    proxy.resetAll()
  }, 60)
  await settledAll(consumer, broker).finally(() => clearInterval(breaking))
  await expectOnce(120)
  expect(resets).toBeGreaterThan(3)
  expect(consumer.status().counts).toMatchObject({ retries: 0, deadLetters: 0 })
})

test('while the database is away nothing is charged, and the loop goes on when it is back', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(messages(10))
  await using consumer = consume(broker, [countEffect], { store })
  await settledAll(consumer, broker)
  proxy.rules = { toServer: (_, connection) => connection.reset() }
  proxy.resetAll()
  await send(messages(30, 10))
  await until('the trouble shows', () => consumer.status().trouble !== null)
  proxy.rules = {}
  await settledAll(consumer, broker)
  await expectOnce(30)
  expect(consumer.status().counts).toMatchObject({ retries: 0, deadLetters: 0 })
})

test('a slow network changes nothing but the time', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(messages(20))
  proxy.rules = { toClient: (_, connection) => connection.delayServer(20) }
  await using consumer = consume(broker, [countEffect], { store })
  await settledAll(consumer, broker)
  await expectOnce(20)
})

test('stopping while the database is away ends in time', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(messages(10))
  const consumer = consume(broker, [countEffect], { store, drainMs: 1_000 })
  await settledAll(consumer, broker)
  proxy.rules = { toServer: (_, connection) => connection.reset() }
  proxy.resetAll()
  await send(messages(20, 10))
  const started = performance.now()
  await consumer.stop()
  expect(performance.now() - started).toBeLessThan(4_000)
  proxy.rules = {}
})
