import { afterAll, expect, test } from 'vitest'
import { PostgresBroker } from '../../src/drivers/postgres/postgres-broker.ts'
import type { Broker } from '../../src/message/index.ts'
import { until } from '../support/until.ts'
import {
  Counted,
  byKey,
  consumerDatabase,
  countEffect,
  countedRecord,
  memoryTopic,
  sequence,
  settledAll,
} from './support/consumer-database.ts'
import { startConsumer } from './support/start-consumer.ts'

const { url, consume, effects, rows, settledByAny } = await consumerDatabase('rebalance')
const broker: Broker = new PostgresBroker({ connectionString: url, maxConnections: 4 })
afterAll(() => broker.close())

const keys = sequence(20).map((n) => `k${n}`)

test('processes that come, go, die and change the number of lanes under load handle every message once and in order', async () => {
  const partitions = 4
  const rounds = 120
  await broker.topics([{ name: Counted.topic, partitions }])
  const appender = await broker.appender({ sourceEpoch: 'load.1', generation: 1, stream: 0, epoch: 1, topics: [Counted.topic] })
  let tick = 0
  const load = (async () => {
    for (let n = 0; n < rounds; n++) {
      const coordinate = (seq: number) => ({ sourceEpoch: 'load.1', generation: 1, stream: 0, tick, seq })
      tick += 1
      await appender.append(keys.map((key, seq) => countedRecord(key, n, { partitions, coordinate: coordinate(seq) })))
      await new Promise((resolve) => setTimeout(resolve, 60))
    }
  })()
  const settings = { url, log: url, sessionTimeoutMs: 1_000 }
  const first = startConsumer(settings)
  await until('the first owns all', () => first.timesSaid('taken') === partitions)
  const second = startConsumer(settings)
  await until('the second has some', () => second.timesSaid('taken') > 0)
  first.tell('lanes 5')
  second.tell('lanes 3')
  const third = startConsumer(settings)
  await until('the third has some', () => third.timesSaid('taken') > 0)
  first.signal('SIGKILL')
  const fourth = startConsumer(settings)
  await until('the fourth has some', () => fourth.timesSaid('taken') > 0)
  second.tell('stop')
  expect((await second.ended).code, second.stderr).toBe(0)
  third.tell('lanes 1')
  await load
  await appender.close()
  await settledByAny(broker)
  const done = byKey(await effects())
  expect(Object.fromEntries(done)).toEqual(Object.fromEntries(keys.map((key) => [key, sequence(rounds)])))
  for (const last of [third, fourth]) {
    last.tell('stop')
    expect((await last.ended).code, last.stderr).toBe(0)
  }
  const lanes = await rows<{ partition: number; lanes: number; n: number }>(
    'select partition, lanes, count(*)::int as n from tidemark.consumer_position group by 1, 2',
  )
  // Whatever their number, the rows of a partition belong together.
  expect(lanes).toHaveLength(partitions)
  for (const row of lanes) expect(row.n).toBe(row.lanes)
})

test('the number of lanes changes again and again under load', async () => {
  await rows('truncate effect')
  const { broker: memory, send } = await memoryTopic(2)
  await using consumer = consume(memory, [countEffect], { group: 'lanes', batch: { maxMessages: 7 } })
  const counts = [1, 5, 2, 8, 3]
  for (const [round, count] of counts.entries()) {
    await send(sequence(30, round * 30).flatMap((n) => keys.map((key) => countedRecord(key, n, { partitions: 2 }))))
    consumer.changeLanes(count)
    await until(
      `${count} lanes`,
      () => consumer.status().partitions.length === 2 && consumer.status().partitions.every(({ lanes }) => lanes === count),
    )
  }
  await settledAll(consumer, memory)
  expect(Object.fromEntries(byKey(await effects()))).toEqual(Object.fromEntries(keys.map((key) => [key, sequence(150)])))
})
