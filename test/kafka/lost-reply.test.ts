import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { KafkaCluster } from '../../servers/kafka.ts'
import { type KafkaBroker, type KafkaBrokerOptions, kafka } from '../../src/drivers/kafka/index.ts'
import { PostgresOutboxStore } from '../../src/drivers/postgres/postgres-outbox-store.ts'
import { type Clock, systemClock } from '../../src/internal/clock.ts'
import type { SequencedRecord } from '../../src/message/port.ts'
import { type Relay, runRelay } from '../../src/outbox/index.ts'
import { countedRecord, sequence } from '../consumer/support/consumer-database.ts'
import { groupProtocols, ownKafkaAvailable, uniqueName } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import type { RequestName } from './support/kafka-frames.ts'
import { type Fate, type KafkaProxy, startProxiedKafka } from './support/kafka-proxy.ts'
import { loadDatabase } from './support/load.ts'
import { makeWorker } from './support/make-worker.ts'
import { offsetHistory, stepsBack } from './support/offset-history.ts'
import { publishOnce } from './support/publish-changes.ts'
import { type RunningLoad, runLoad } from './support/running-load.ts'
import { cleanWire, readWire, wireOutcome } from './support/wire.ts'

const seed = Number(process.env.TIDEMARK_RACE_SEED ?? Date.now() % 100_000)
const whole = process.env.TIDEMARK_RACE_SECONDS !== undefined

describe.skipIf(ownKafkaAvailable.missing)(`replies of Kafka that are lost${ownKafkaAvailable.note}`, { timeout: 180_000 }, async () => {
  const database = await loadDatabase('kafka_lost_reply')
  let cluster: KafkaCluster
  let proxy: KafkaProxy
  const brokers: KafkaBroker[] = []
  const loads: RunningLoad[] = []
  beforeAll(async () => {
    const started = await startProxiedKafka()
    ;({ cluster, proxy } = started)
    return started.stop
  })
  afterEach(async () => {
    proxy.mend()
    await Promise.all(loads.splice(0).map((load) => load.end()))
    await Promise.all(brokers.splice(0).map((broker) => broker.close()))
  })

  /** Has every so-many-th reply to these requests lost, by these fates in turn, so many of each kind at most; counts what was lost. */
  function lose(every: Partial<Record<RequestName, number>>, fates: readonly Fate[], most = Infinity): Map<RequestName, number> {
    const seen = new Map<RequestName, number>()
    const lost = new Map<RequestName, number>(Object.keys(every).map((name) => [name as RequestName, 0]))
    proxy.fateOf = ({ request }) => {
      const nth = every[request]
      if (nth === undefined) return 'pass'
      const count = (seen.get(request) ?? 0) + 1
      seen.set(request, count)
      const before = lost.get(request)!
      if (count % nth !== 0 || before >= most) return 'pass'
      lost.set(request, before + 1)
      return fates[before % fates.length]!
    }
    return lost
  }

  const leastOf = (lost: ReadonlyMap<RequestName, number>): number => Math.min(...lost.values())

  describe.each([
    ['are cut off', 'cut', 20],
    ['never come', 'swallow', 4],
  ] as const)('of a producer, and %s:', (_, fate, pages) => {
    test.each([
      ['without a fence', { produce: 2 }, false],
      ['with its stream fenced', { 'producer id': 2, enlist: 2, produce: 2, 'end transaction': 2 }, true],
    ] as const)('every page stands in the log once, in order (%s)', async (__, every, fenceStreams) => {
      const topic = uniqueName('lost')
      const broker = kafka({ brokers: proxy.brokers, fenceStreams, requestTimeoutMs: 300, transactionalIdPrefix: topic })
      brokers.push(broker)
      await broker.topics([{ name: topic, partitions: 3 }])
      const lost = lose(every, [fate])
      const claim = { sourceEpoch: `${topic}.1`, generation: 1, stream: 0, epoch: 1, topics: [topic] }
      // The first answer passes, the second is lost, and the third serves.
      await (await broker.appender(claim)).close()
      const appender = await broker.appender(claim)
      for (const tick of sequence(pages, 1)) expect(await appender.append(page(topic, tick))).toEqual([])
      await appender.close()
      expect(leastOf(lost), JSON.stringify([...lost])).toBeGreaterThanOrEqual(fenceStreams ? 1 : pages / 2)
      expect(lost.get('produce')).toBeGreaterThanOrEqual(pages / 2)
      proxy.mend()
      const wire = await readWire({ brokers: cluster.brokers }, topic)
      expect(wireOutcome(wire)).toEqual(cleanWire(pages * keys.length * 2))
    })
  })

  test.each([
    ['without a fence', false],
    ['with its stream fenced', true],
  ])(
    'a relay that is stopped while no reply comes gives its page back in time, and the next one sends it (%s)',
    async (_, fenceStreams) => {
      const aggregate = uniqueName('stopped')
      const publisher = makeWorker({ url: database.url, kafka: { brokers: cluster.brokers }, aggregate })
      const publish = () =>
        publishOnce(
          publisher.service,
          aggregate,
          keys.map((key) => ({ key, count: 2 })),
        )
      const pending = async (): Promise<number> => (await publisher.service.status()).outbox.pending
      const start = async (clock: Clock): Promise<Relay> => {
        const broker = kafka({ brokers: proxy.brokers, fenceStreams })
        brokers.push(broker)
        return runRelay({ store: new PostgresOutboxStore({ database: database.database }), broker, leaseMs: 500, clock })
      }
      await publish()
      // Its five seconds are half of one.
      const stopped = await start({ ...systemClock, after: (ms, fn) => systemClock.after(ms / 10, fn) })
      await until('the first page is sent', async () => (await pending()) === 0)
      let asked = 0
      proxy.fateOf = ({ request }) => {
        if (request === 'produce') asked += 1
        return 'swallow'
      }
      await publish()
      if (fenceStreams) await until('it waits', async () => (await pending()) > 0)
      else await until('a page was sent in vain', () => asked > 0)
      const since = performance.now()
      await stopped.stop()
      // Far below the time for a request or a delivery.
      expect(performance.now() - since).toBeLessThan(5_000)
      expect(await pending()).toBeGreaterThan(0)
      await expect(stopped.done).resolves.toBeUndefined()
      proxy.mend()
      await using relay = await start(systemClock)
      await until('everything is sent', async () => (await pending()) === 0)
      expect(relay.status().error).toBeNull()
      expect(wireOutcome(await readWire({ brokers: cluster.brokers }, `outbox.event.${aggregate}`))).toEqual(cleanWire(4 * keys.length))
      await publisher.stop()
    },
  )

  async function load(options: Partial<KafkaBrokerOptions>): Promise<RunningLoad> {
    const started = await runLoad(database, seed, { brokers: proxy.brokers, ...options })
    loads.push(started)
    return started
  }

  const ofProducers = { produce: 3 }
  const ofFencedProducers = { enlist: 5, produce: 3, 'end transaction': 4 }
  const ofMembers = {
    classic: { fetch: 10, heartbeat: 2, 'commit offsets': 3 },
    consumer: { fetch: 10, 'group heartbeat': 2, 'commit offsets': 3 },
  }

  /** Asked rarely, and without a time of our own for the reply: a cut is noticed at once. The first ones are lost. */
  const rare = { classic: { join: 1, sync: 1, 'find coordinator': 1 }, consumer: { 'find coordinator': 1 } }
  const newest = groupProtocols.at(-1)!

  test.each([
    ['classic', true],
    ...(whole
      ? ([
          [newest, false],
          [newest, true],
          ['classic', false],
        ] as const)
      : []),
  ] as const)(
    'of every kind, cut off or swallowed: relay and members of a group (%s, streams fenced: %s) lose, double and reorder nothing',
    async (groupProtocol, fenceStreams) => {
      const history = await offsetHistory({ brokers: cluster.brokers })
      const rarely = lose(rare[groupProtocol], ['cut'], 2)
      const { expectAll, untilMore, group } = await load({ groupProtocol, fenceStreams, requestTimeoutMs: 300 })
      expect(leastOf(rarely), JSON.stringify([...rarely])).toBeGreaterThan(0)
      const lost = lose({ ...(fenceStreams ? ofFencedProducers : ofProducers), ...ofMembers[groupProtocol] }, ['cut', 'swallow'])
      await until('some of each kind are lost', () => leastOf(lost) >= 4)
      proxy.mend()
      console.log(`seed ${seed}, lost:`, JSON.stringify(Object.fromEntries([...rarely, ...lost])))
      await untilMore()
      await expectAll()
      const offsets = await history.of(group)
      expect(offsets.size).toBeGreaterThan(0)
      expect(stepsBack(offsets)).toEqual([])
    },
  )
})

const keys = ['a', 'b', 'c', 'd', 'e', 'f']

/** Two messages of each key, the numbers of the tick. */
function page(topic: string, tick: number): readonly SequencedRecord[] {
  return keys.flatMap((key, place) =>
    [1, 2].map((nth) => {
      const coordinate = { sourceEpoch: `${topic}.1`, generation: 1, stream: 0, tick, seq: (tick * keys.length + place) * 2 + nth }
      return { ...countedRecord(key, (tick - 1) * 2 + nth, { partitions: 3, coordinate }), topic }
    }),
  )
}
