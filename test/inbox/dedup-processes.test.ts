import { randomUUID } from 'node:crypto'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { PostgresBroker } from '../../src/drivers/postgres/postgres-broker.ts'
import { Counted, consumerDatabase, countedRecord, sequence } from '../consumer/support/consumer-database.ts'
import { startConsumer } from '../consumer/support/start-consumer.ts'
import { until } from '../support/until.ts'

/**
 * The dedup table, for messages of a foreign producer: what it sends twice takes effect once, in one batch, in two, in two processes, and after a crash.
 * (One process by itself: `test/consumer/effects-once.test.ts`.)
 */

const { url, database, effects, rows, settledByAny } = await consumerDatabase('dedup_processes')
const broker = new PostgresBroker({ connectionString: url, maxConnections: 4 })
afterAll(() => broker.close())
const log = { url, log: url }
const partitions = 2

beforeEach(async () => {
  await rows('truncate effect, tidemark.consumer_position, tidemark.inbox cascade')
  await broker.deleteTopic(Counted.topic)
  await broker.topics([{ name: Counted.topic, partitions }])
})

/** Each message into both partitions, so that two owners get it, and twice in a row. */
async function sendCopies(count: number): Promise<void> {
  const claim = { sourceEpoch: `${randomUUID()}.1`, generation: 1, stream: 0, epoch: 1, topics: [Counted.topic] }
  const appender = await broker.appender(claim)
  const copies = sequence(count).flatMap((n) => {
    const record = countedRecord(`k${n % 7}`, n, { id: `m-${n}` })
    return [0, 0, 1, 1].map((partition) => ({ ...record, partition }))
  })
  await appender.append(copies)
  await appender.close()
}

async function expectOnce(count: number): Promise<void> {
  const ids = (await effects()).map(({ id }) => id)
  expect(ids.length).toBe(count)
  expect(new Set(ids).size).toBe(count)
}

test('two processes that get copies of the same messages at the same time', async () => {
  const [one, other] = [startConsumer(log), startConsumer(log)]
  await Promise.all([one.untilSaid(/taken/), other.untilSaid(/taken/)])
  await sendCopies(400)
  await settledByAny(broker)
  await expectOnce(400)
  const [{ found }] = (await database.query<{ found: number }>(`select count(distinct identity)::int as found from tidemark.inbox`)) as [
    { found: number },
  ]
  expect(found).toBe(400)
  for (const program of [one, other]) {
    program.tell('stop')
    await program.ended
  }
})

test('a process that is killed between its effects and the next message, and its successor', async () => {
  await sendCopies(100)
  const victim = startConsumer(log, { TIDEMARK_CRASH_POINT: 'consumer:after-commit:3' })
  expect((await victim.ended).signal).toBe('SIGKILL')
  const part = (await effects()).length
  expect(part).toBeGreaterThan(0)
  const successor = startConsumer(log)
  // What the first one has handled, once more.
  await sendCopies(100)
  await settledByAny(broker)
  await until('nothing is under way', async () => (await effects()).length >= 100)
  await expectOnce(100)
  successor.tell('stop')
  await successor.ended
})
