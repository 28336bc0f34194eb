import { afterEach, expect, test } from 'vitest'
import { member, readAll, reader, record, rejects, sender, texts } from '../../src/conformance/broker/fixture.ts'
import { TidemarkError } from '../../src/errors.ts'
import { FaultProxy } from '../support/fault-proxy.ts'
import { durableServer } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { brokerDatabase } from './support/broker-database.ts'

const { lease, crash, database: makeDatabase } = await durableServer()
const database = await makeDatabase('broker_faults')
const brokers = await brokerDatabase(database)

afterEach(() => brokers.close())

test('a page whose reply was lost is sent again and stands in the log once', async () => {
  const proxy = await FaultProxy.start(() => database.connection())
  const broker = brokers.connect({ connection: () => ({ ...database.connection(), port: proxy.port }) })
  await broker.topics([{ name: 'lost-reply', partitions: 2 }])
  const { send, sendAgain } = await sender(broker, 'lost-reply', { source: 'lost.1' })
  await send(record('lost-reply', 0, 'a'))
  // The server gets the page whole, and its answer goes nowhere.
  proxy.rules = {
    toClient(_, connection) {
      proxy.rules = {}
      connection.muteServer()
      connection.reset()
    },
  }
  await rejects(send(record('lost-reply', 0, 'b'), record('lost-reply', 1, 'c')), 'BROKER_UNREACHABLE')
  await sendAgain()
  await send(record('lost-reply', 0, 'd'))
  const other = brokers.connect()
  const membership = await reader(other, 'lost-reply', 'lost')
  const positions = [0, 1].map((partition) => ({ topic: 'lost-reply', partition, offset: 0 }))
  expect(texts(await readAll(membership, positions)).sort()).toEqual(['a', 'b', 'c', 'd'])
  await broker.close()
  await proxy.close()
})

test('a cut connection fails a fetch as unreachable, and the membership goes on', async () => {
  const proxy = await FaultProxy.start(() => database.connection())
  const broker = brokers.connect({ connection: () => ({ ...database.connection(), port: proxy.port }) })
  await broker.topics([{ name: 'cut', partitions: 2 }])
  const { membership, held, told } = await member(broker, { group: 'cut', topics: ['cut'] })
  await until('all to be assigned', () => held().length === 2)
  const { send } = await sender(broker, 'cut', { source: 'cut.1' })
  await send(record('cut', 1, 'x'))
  proxy.resetAll()
  const positions = [0, 1].map((partition) => ({ topic: 'cut', partition, offset: 0 }))
  const found = await untilReached(() => membership.fetch(positions, { maxBytes: 1_000, maxWaitMs: 1_000 }))
  expect(found.map(({ partition }) => partition)).toEqual([1])
  expect(told.map(({ what }) => what)).toEqual(['assigned'])
  await membership.leave()
  await broker.close()
  await proxy.close()
})

test('a crash of the server loses nothing that was acknowledged, and members keep their partitions through it', async () => {
  const broker = brokers.connect({ connection: () => database.connection() })
  await broker.topics([{ name: 'crash', partitions: 4 }])
  // Both must find the server again within it.
  const sessionMs = 3_000
  const one = await member(broker, { group: 'crash', topics: ['crash'], sessionTimeoutMs: sessionMs })
  const two = await member(brokers.connect({ connection: () => database.connection() }), {
    group: 'crash',
    topics: ['crash'],
    sessionTimeoutMs: sessionMs,
  })
  await until('both to share', () => one.held().length === 2 && two.held().length === 2)
  const { send } = await sender(broker, 'crash', { source: 'crash.1' })
  await send(...[0, 1, 2, 3].map((partition) => record('crash', partition, `${partition}`)))
  const before = [one.told.length, two.told.length]
  await crash()
  await rejects(send(record('crash', 0, 'down')), 'BROKER_UNREACHABLE')
  // Longer than a session: silence while the server was away does not count.
  await new Promise((resolve) => setTimeout(resolve, sessionMs + 200))
  await lease.ensureRunning()
  const positions = [0, 1, 2, 3].map((partition) => ({ topic: 'crash', partition, offset: 0 }))
  const records = await untilReached(() => readAll(one.membership, positions))
  expect(texts(records).sort()).toEqual(['0', '1', '2', '3'])
  await send(record('crash', 0, 'up'))
  expect(texts(await readAll(one.membership, [{ topic: 'crash', partition: 0, offset: 1 }]))).toEqual(['up'])
  expect([one.told.length, two.told.length]).toEqual(before)
})

/** Tries again while the broker cannot be reached, as a consumer does. */
async function untilReached<T>(call: () => Promise<T>): Promise<T> {
  let result: T | undefined
  await until('the broker to be reached', async () => {
    try {
      result = await call()
      return true
    } catch (error) {
      expect(TidemarkError.is(error, 'BROKER_UNREACHABLE')).toBe(true)
      return false
    }
  })
  return result!
}
