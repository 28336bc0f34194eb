import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type CrashPoint, crashPoints } from '../../src/internal/crash-points.ts'
import { type KafkaBroker, type KafkaBrokerOptions, kafka as kafkaBroker } from '../../src/drivers/kafka/index.ts'
import { startRelay } from '../outbox/support/start-relay.ts'
import { type TestKafka, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { loadDatabase } from './support/load.ts'
import { type RunningConsumers, runConsumers } from './support/make-consumer.ts'
import { type Worker, makeWorker } from './support/make-worker.ts'
import { publishOnce } from './support/publish-changes.ts'
import { makeTopicOfSmallBatches } from './support/small-batches.ts'
import { startConsumers } from './support/start-consumers.ts'
import { cleanWire, readWire, wireOutcome } from './support/wire.ts'

const partitions = 2
const keys = ['a', 'b', 'c', 'bad', 'd', 'e']
/** What is published at a time: so many changes of each key. */
const changes = 10
/** The third change of one key. It is parked with all behind it. */
const poison = { key: 'bad', n: 3 }

/** A point and the time at which it is reached. */
interface Death {
  readonly point: CrashPoint
  readonly time: number
}

// What goes before a mark is a crash itself: see `test/crash/attribution.test.ts`.
const consumerPoints = crashPoints.filter((name) => name.startsWith('consumer:') && name !== 'consumer:after-mark')
const kafkaPoints = crashPoints.filter((name) => name.startsWith('kafka:'))

/** Some are reached again and again, and so may be survived the first time only. */
const later: readonly Death[] = [
  { point: 'consumer:after-handlers', time: 4 },
  { point: 'consumer:after-compare-and-set', time: 4 },
  { point: 'consumer:after-appends', time: 4 },
  { point: 'consumer:after-commit', time: 4 },
]
const atFirst: readonly Death[] = consumerPoints.map((point) => ({ point, time: 1 }))
const deathsOfConsumers = process.env.TIDEMARK_RACE_SECONDS === undefined ? atFirst : [...atFirst, ...later]

/** After the first and after the second request of a page: it is partly sent, to each partition in part. */
const deathsBetweenRequests: readonly Death[] = [
  { point: 'kafka:after-produce', time: 1 },
  { point: 'kafka:after-produce', time: 2 },
]
const deathsOfFencedRelays: readonly Death[] = [
  ...kafkaPoints.map((point) => ({ point, time: 1 })),
  { point: 'kafka:after-produce', time: 2 },
]

describe.skipIf(kafkaAvailable.missing)(`killed between two steps on Kafka${kafkaAvailable.note}`, { timeout: 120_000 }, async () => {
  const { url, database, outcome } = await loadDatabase('kafka_crash_points')
  let kafka: TestKafka
  let broker: KafkaBroker
  const workers: (Worker | RunningConsumers)[] = []
  beforeAll(async () => {
    kafka = await testKafka()
    broker = kafkaBroker({ brokers: kafka.brokers })
    return () => broker.close()
  })
  afterEach(() => Promise.all(workers.splice(0).map((worker) => worker.stop())))

  async function start(aggregate: string, options: Partial<KafkaBrokerOptions>, relay: boolean): Promise<Worker> {
    const worker = makeWorker({
      url,
      aggregate,
      kafka: { brokers: kafka.brokers, ...options },
      relay,
      outbox: { leaseMs: 400, pageSize: 20 },
    })
    workers.push(worker)
    await worker.service.start()
    return worker
  }

  /** The next changes of every key, in several transactions. */
  async function publish({ service }: Worker, aggregate: string): Promise<void> {
    for (let i = 0; i < changes / 2; i++) {
      await publishOnce(
        service,
        aggregate,
        keys.map((key) => ({ key, count: 2 })),
      )
    }
  }

  const sent = async ({ service }: Worker): Promise<boolean> => (await service.status()).outbox.pending === 0

  const nameOf = ({ point, time }: Death): string => `${point}:${time}`

  test('a consumer, at every point: the next one goes on, every effect happens once, in order, and what fails is parked once', async () => {
    const aggregate = kafka.name('crash')
    const topic = `outbox.event.${aggregate}`
    await broker.topics([{ name: topic, partitions }])
    const producer = await start(aggregate, {}, true)
    await publish(producer, aggregate)
    await until('everything is sent', () => sent(producer))
    // Each point has a group of its own, so that all of them are tried at once.
    const tried = deathsOfConsumers.map((death) => ({ name: nameOf(death), group: kafka.name('group') }))
    const settings = { url, kafka: { brokers: kafka.brokers }, aggregate, poison, sessionTimeoutMs: 1_000 }
    const killed = tried.map(({ name, group }) => startConsumers({ ...settings, groups: [group] }, { TIDEMARK_CRASH_POINT: name }))
    const endings = killed.map(async (program, i) => {
      const { name } = tried[i]!
      if (/lane/.test(name)) {
        await until('it owns both partitions', () => program.timesSaid('taken') >= partitions, 60_000)
        program.tell('lanes 5')
      }
      return [name, (await program.ended).signal] as const
    })
    expect(Object.fromEntries(await Promise.all(endings))).toEqual(Object.fromEntries(tried.map(({ name }) => [name, 'SIGKILL'])))

    await publish(producer, aggregate)
    await until('everything is sent', () => sent(producer))
    const successors = runConsumers({ ...settings, groups: tried.map(({ group }) => group) })
    workers.push(successors)
    const ends = await broker.offsets(topic, 'latest')
    await until('all of them are at the ends', () =>
      successors.consumers.every((consumer) => ends.every((end, partition) => (consumer.settledUpTo(topic, partition) ?? -1) >= end)),
    )
    await until('nothing waits to be tried again', async () => {
      const waiting = `select from tidemark.parked_key where group_name = any($1::text[]) and next_attempt_at < 'infinity'`
      return (await database.query(waiting, [tried.map(({ group }) => group)])).length === 0
    })
    const due = 2 * changes * keys.length
    const parked = 2 * changes - poison.n + 1
    const found = await Promise.all(
      tried.map(async ({ name, group }) => [name, { ...(await outcome(aggregate, group)), ...(await aside(group)) }]),
    )
    const wanted = { due, handled: due - parked, lost: parked, doubled: 0, misplaced: 0, parked, dead: 1, letters: 1 }
    expect(Object.fromEntries(found)).toEqual(Object.fromEntries(tried.map(({ name }) => [name, wanted])))
  })

  /** What is parked, how much of it is dead, and the dead letters. */
  async function aside(group: string): Promise<{ readonly parked: number; readonly dead: number; readonly letters: number }> {
    const [row] = await database.query<{ parked: number; dead: number; letters: number }>(
      `select count(*)::int as parked, (count(*) filter (where dead))::int as dead,
        (select count(*)::int from tidemark.dead_letter where group_name = $1) as letters from tidemark.parked_msg where group_name = $1`,
      [group],
    )
    return row!
  }

  test.each([
    ['between the requests of a page', false, deathsBetweenRequests],
    ['anywhere in a transaction', true, deathsOfFencedRelays],
  ] as const)('relays, %s, one after the other: nothing is lost, repeated on the wire or reordered', async (_, fenceStreams, deaths) => {
    const aggregate = kafka.name('crash')
    const topic = `outbox.event.${aggregate}`
    await makeTopicOfSmallBatches(kafka.brokers, topic, partitions)
    const publisher = await start(aggregate, {}, false)
    await publish(publisher, aggregate)
    await publish(publisher, aggregate)
    const options = { brokers: kafka.brokers, fenceStreams }
    const killed = deaths.map((death) => startRelay({ url, fences: false, kafka: options }, { TIDEMARK_CRASH_POINT: nameOf(death) }))
    const endings = await Promise.all(killed.map(async ({ ended }, i) => [nameOf(deaths[i]!), (await ended).signal] as const))
    expect(Object.fromEntries(endings)).toEqual(Object.fromEntries(deaths.map((death) => [nameOf(death), 'SIGKILL'])))
    await publish(publisher, aggregate)
    const successor = await start(aggregate, { fenceStreams }, true)
    await until('everything is sent', () => sent(successor))
    expect(wireOutcome(await readWire({ brokers: kafka.brokers }, topic))).toEqual(cleanWire(3 * changes * keys.length))
  })

  test('every point is tried', () => {
    const tried = [...deathsOfConsumers, ...deathsBetweenRequests, ...deathsOfFencedRelays].map(({ point }) => point)
    expect(new Set(tried)).toEqual(new Set([...consumerPoints, ...kafkaPoints]))
    expect([consumerPoints.length, kafkaPoints.length]).toEqual([9, 6])
  })
})
