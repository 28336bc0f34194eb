import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { main } from '../../src/cli/main.ts'
import { PostgresOutboxOperations } from '../../src/drivers/postgres/postgres-outbox-operations.ts'
import type { KafkaBrokerOptions } from '../../src/drivers/kafka/index.ts'
import { topicOf } from '../../src/message/topic.ts'
import { type TestKafka, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { exactly, loadDatabase } from './support/load.ts'
import { type Worker, makeWorker } from './support/make-worker.ts'
import { publishChanges, publishOnce } from './support/publish-changes.ts'
import type { WorkerSettings } from './support/start-worker.ts'
import { changeLimit, makeTopic } from './support/topic-limit.ts'
import { type OnWire, cleanWire, readWire, wireOutcome } from './support/wire.ts'

const seed = Number(process.env.TIDEMARK_RACE_SEED ?? Date.now() % 100_000)
const kilobytes = (count: number): string => 'x'.repeat(count * 1_000)

describe.skipIf(kafkaAvailable.missing)(`rows that are large${kafkaAvailable.note}`, async () => {
  const { url, database, untilHandled } = await loadDatabase('kafka_large_rows')
  const operations = new PostgresOutboxOperations({ database })
  let kafka: TestKafka
  beforeAll(async () => {
    kafka = await testKafka()
  })
  const workers: Worker[] = []
  afterEach(() => Promise.all(workers.splice(0).map((worker) => worker.stop())))

  /** A topic with a limit, and a service that relays to it. */
  async function relayTo(maxBatchBytes: number, options: Partial<KafkaBrokerOptions> = {}, settings: Partial<WorkerSettings> = {}) {
    const aggregate = kafka.name('large')
    const topic = topicOf(aggregate, {})
    await makeTopic(kafka.brokers, topic, 4, maxBatchBytes)
    const start = async (more: Partial<KafkaBrokerOptions> = {}): Promise<Worker> => {
      const worker = makeWorker({ url, kafka: { brokers: kafka.brokers, ...options, ...more }, aggregate, relay: true, ...settings })
      workers.push(worker)
      await worker.service.start()
      return worker
    }
    const relay = await start()
    return {
      aggregate,
      topic,
      relay,
      start,
      publish: (key: string, count: number, pad?: string) =>
        publishOnce(relay.service, aggregate, [{ key, count, ...(pad === undefined ? {} : { pad }) }]),
      wire: (): Promise<OnWire[]> => readWire({ brokers: kafka.brokers }, topic),
      raise: (bytes: number): Promise<void> => changeLimit(kafka.brokers, topic, bytes),
    }
  }

  const sentOf = (records: readonly OnWire[], key: string): number[] => records.filter((one) => one.key === key).map(({ n }) => n)
  const held = async (): Promise<[string, number][]> =>
    (await operations.parked()).map(({ aggregateId, held: count }) => [aggregateId, count])
  const nothingParked = async (): Promise<boolean> => (await operations.parked()).length === 0
  const allSent = async ({ service }: Worker): Promise<boolean> => (await service.status()).outbox.pending === 0

  async function cli(...argv: readonly string[]): Promise<{ code: number; stdout: string }> {
    let stdout = ''
    const io = {
      stdout: { write: (text: string) => (stdout += text) },
      stderr: { write: () => true },
      env: { DATABASE_URL: url },
      user: 'tester',
    }
    return { code: await main(argv, io), stdout }
  }

  test("one over its topic's max.message.bytes parks its key alone, is shown, and follows in order once the limit is raised", async () => {
    const { aggregate, topic, relay, publish, wire, raise } = await relayTo(20_000)
    await publish('a', 2)
    await publish('a', 1, kilobytes(50))
    await publish('b', 2)
    await publish('a', 2)
    await until('the neighbour is sent, the key is held', async () => (await allSent(relay)) && (await held())[0]?.[1] === 3)
    await publish('b', 1)
    await until('it goes on', async () => sentOf(await wire(), 'b').length === 3)
    expect(sentOf(await wire(), 'a')).toEqual([1, 2])

    const shown = await cli('outbox', 'parked')
    expect(shown.stdout).toMatch(new RegExp(`${aggregate}/a\\s+3\\s.*20000 bytes.*max\\.message\\.bytes of ${topic}`))
    expect(shown.stdout).not.toContain('xxxx')
    expect(JSON.parse((await cli('outbox', 'status', '--json')).stdout)).toMatchObject({ streams: [{ parkedKeys: 1, heldMessages: 3 }] })

    // A release that comes too early parks it again.
    expect((await cli('outbox', 'release', `${aggregate}/a`)).code).toBe(0)
    await until('it is parked again', async () => (await operations.parked())[0]?.releasing === false)
    await raise(100_000)
    expect((await cli('outbox', 'release', `${aggregate}/a`)).code).toBe(0)
    await publish('a', 1)
    await until('nothing is held', nothingParked)
    await until('all of the key is sent', async () => sentOf(await wire(), 'a').length === 6)
    expect(wireOutcome(await wire())).toEqual(cleanWire(9))
  })

  test('one over the limit of the driver is parked before anything of its page is sent, and follows once that limit is raised', async () => {
    const { aggregate, relay, publish, wire, start } = await relayTo(1_000_000, { maxRecordBytes: 5_000 })
    await publish('a', 1, kilobytes(8))
    await publish('a', 1)
    await publish('b', 1)
    await until('the neighbour is sent, the key is held', async () => (await allSent(relay)) && (await held())[0]?.[1] === 2)
    expect((await cli('outbox', 'parked')).stdout).toMatch(new RegExp(`${aggregate}/a\\s+2\\s.*bytes, and the broker takes 5000`))
    await relay.stop()
    await start({ maxRecordBytes: 1_000_000 })
    expect((await cli('outbox', 'release', '--all', '--yes')).code).toBe(0)
    await until('nothing is held', nothingParked)
    expect(wireOutcome(await wire())).toEqual(cleanWire(3))
  })

  test('a page of rows that fit one by one is cut into batches, and nothing of it is parked', async () => {
    const { aggregate, relay, wire, start } = await relayTo(30_000)
    await relay.stop()
    const publisher = makeWorker({ url, kafka: { brokers: kafka.brokers }, aggregate })
    workers.push(publisher)
    // In one page, and most of it for one partition: 200 rows of 12 kB for batches of 30 kB.
    for (let i = 0; i < 10; i++) await publishOnce(publisher.service, aggregate, [{ key: 'a', count: 20, pad: kilobytes(12) }])
    await publishOnce(publisher.service, aggregate, [{ key: 'b', count: 20, pad: kilobytes(12) }])
    const later = await start()
    await until('all is sent', () => allSent(later))
    expect(await held()).toEqual([])
    expect(wireOutcome(await wire())).toEqual(cleanWire(220))
  })

  test('a limit that is lowered under a relay parks what is over it from then on, and nothing that fits', async () => {
    const { relay, publish, wire, raise } = await relayTo(200_000)
    await publish('a', 3, kilobytes(60))
    await until('all is sent', () => allSent(relay))
    await raise(30_000)
    await publish('b', 8, kilobytes(12))
    await publish('a', 1, kilobytes(60))
    await publish('c', 8, kilobytes(12))
    await publish('a', 1)
    await until('what fits is sent, what does not is held', async () => (await allSent(relay)) && (await held())[0]?.[1] === 2)
    expect(wireOutcome(await wire())).toEqual(cleanWire(19))
    await raise(200_000)
    await operations.release(await operations.parked())
    await until('nothing is held', nothingParked)
    expect(wireOutcome(await wire())).toEqual(cleanWire(21))
  })

  test(`rows over the limit amid a load park their keys alone; released, everything is handled once and in order (seed ${seed})`, async () => {
    const { aggregate, relay, publish, wire, raise } = await relayTo(20_000, {}, { outbox: { pageSize: 50 } })
    const group = kafka.name('group')
    const consumer = makeWorker({ url, kafka: { brokers: kafka.brokers }, aggregate, groups: [group] })
    workers.push(consumer)
    await consumer.service.start()
    let running = true
    const load = publishChanges(relay.service, aggregate, { keys: 30, seed, writers: 3, pauseMs: 10 }, () => running)
    const large: string[] = []
    for (let i = 0; i < 6; i++) {
      const key = `key-${(seed + 7 * i) % 30}`
      large.push(key)
      await publish(key, 1, kilobytes(40))
      await publish(`key-${(seed + i) % 30}`, 3, kilobytes(8))
      await until('it is parked', async () => (await operations.parked()).some(({ aggregateId }) => aggregateId === key))
    }
    running = false
    await load
    await until('what can be sent is sent', () => allSent(relay))
    expect((await operations.parked()).map(({ aggregateId }) => aggregateId).sort()).toEqual([...new Set(large)].sort())
    const others = (await wire()).filter(({ key }) => !large.includes(key))
    expect(wireOutcome(others)).toMatchObject({ repeated: 0, misplaced: 0 })
    const [due] = await database.query<{ n: number }>('select sum(n)::int as n from latest where aggregate = $1 and not (key = any ($2))', [
      aggregate,
      large,
    ])
    expect(others).toHaveLength(due!.n)

    await raise(100_000)
    expect((await cli('outbox', 'release', '--all', '--yes')).code).toBe(0)
    await until('nothing is held', nothingParked)
    const [outcome] = await untilHandled(aggregate, [group])
    expect(outcome).toEqual(exactly(outcome!.due))
    expect(wireOutcome(await wire())).toEqual(cleanWire(outcome!.due))
  })

  test('one of several megabytes is published and handled, where topic and driver take it', async () => {
    const { aggregate, relay, publish } = await relayTo(8_000_000, { maxRecordBytes: 7_000_000 })
    const group = kafka.name('group')
    const consumer = makeWorker({ url, kafka: { brokers: kafka.brokers }, aggregate, groups: [group] })
    workers.push(consumer)
    await consumer.service.start()
    await publish('a', 1)
    await publish('a', 1, kilobytes(6_000))
    await publish('b', 4, kilobytes(3_000))
    await publish('a', 1)
    expect(await untilHandled(aggregate, [group])).toEqual([exactly(7)])
    expect(await allSent(relay)).toBe(true)
    expect(await held()).toEqual([])
  })
})
