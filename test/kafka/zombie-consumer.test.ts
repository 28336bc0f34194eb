import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type KafkaBroker, kafka as kafkaBroker } from '../../src/drivers/kafka/index.ts'
import type { CrashPoint } from '../../src/internal/crash-points.ts'
import { type TestKafka, groupProtocols, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { freezeInTurns } from './support/freeze-in-turns.ts'
import { setGroupSessions } from './support/group-session.ts'
import { exactly, loadDatabase } from './support/load.ts'
import { type Worker, makeWorker } from './support/make-worker.ts'
import { offsetHistory, stepsBack } from './support/offset-history.ts'
import { pause } from './support/pause.ts'
import { publishOnce } from './support/publish-changes.ts'
import { type WorkerSettings, quiet, startWorker, stopAll } from './support/start-worker.ts'

const seed = Number(process.env.TIDEMARK_RACE_SEED ?? Date.now() % 100_000)
/** Of the load in which members are frozen whenever it happens. */
const seconds = Number(process.env.TIDEMARK_RACE_SECONDS ?? 3)
const sessionTimeoutMs = 800
const partitions = 3
const keys = ['a', 'b', 'c', 'd', 'e', 'f']

/** Between reading and committing; and after the commit, of which Kafka has not heard yet. */
const moments: readonly CrashPoint[] = ['consumer:after-handlers', 'consumer:after-commit']
/** Tried when there is time: what the database alone decides, as on any broker (`test/crash`). */
const furtherMoments: readonly CrashPoint[] = [
  'consumer:before-take-over',
  'consumer:after-take-over',
  'consumer:after-compare-and-set',
  'consumer:after-appends',
]
const tried = process.env.TIDEMARK_RACE_SECONDS === undefined ? moments : [...moments, ...furtherMoments]
const inHandler = 'in-a-handler'

describe.skipIf(kafkaAvailable.missing)(`a consumer on Kafka that is frozen for twice its session${kafkaAvailable.note}`, async () => {
  const { url, database, untilHandled } = await loadDatabase('kafka_zombie')
  let kafka: TestKafka
  let broker: KafkaBroker
  const workers: Worker[] = []
  beforeAll(async () => {
    kafka = await testKafka()
    broker = kafkaBroker({ brokers: kafka.brokers })
    return () => broker.close()
  })
  afterEach(() => Promise.all(workers.splice(0).map((worker) => worker.stop())))

  async function start(settings: WorkerSettings): Promise<Worker> {
    const worker = makeWorker(settings)
    workers.push(worker)
    await worker.service.start()
    return worker
  }

  async function due(aggregate: string): Promise<number> {
    const [row] = await database.query<{ n: number }>('select sum(n)::int as n from latest where aggregate = $1', [aggregate])
    return row!.n
  }

  /** How far the groups are noted at the broker, summed over the partitions. */
  async function noted(aggregate: string, groups: readonly string[]): Promise<readonly number[]> {
    const offsets = await Promise.all(groups.map((group) => broker.committed(group, `outbox.event.${aggregate}`)))
    return offsets.map((each) => each.reduce<number>((sum, offset) => sum + (offset ?? 0), 0))
  }

  test.each(groupProtocols)(
    'commits nothing when it wakes, whatever it was about to do, and does not move its group back (%s)',
    { timeout: 120_000 },
    async (groupProtocol) => {
      const aggregate = kafka.name('zombie')
      // Each moment has a group of its own, so that all of them are tried at once.
      const groups = [...tried, inHandler].map((moment) => kafka.name(moment.replace(':', '-')))
      if (groupProtocol === 'consumer') await setGroupSessions(kafka.brokers, groups, sessionTimeoutMs)
      const settings: WorkerSettings = {
        url,
        kafka: { brokers: kafka.brokers, groupProtocol },
        aggregate,
        consumer: { sessionTimeoutMs },
      }
      await broker.topics([{ name: `outbox.event.${aggregate}`, partitions }])
      const producer = await start({ ...settings, relay: true })
      const publish = async (times: number): Promise<void> => {
        for (let i = 0; i < times; i++) {
          await publishOnce(
            producer.service,
            aggregate,
            keys.map((key) => ({ key, count: 2 })),
          )
        }
      }
      await publish(5)
      const history = await offsetHistory({ brokers: kafka.brokers })
      const zombies = groups.map((group, i) =>
        i < tried.length
          ? startWorker({ ...settings, groups: [group] }, { TIDEMARK_FREEZE_POINT: tried[i] })
          : startWorker({ ...settings, groups: [group], waitsAt: { key: 'a', n: 3 } }),
      )
      const handling = zombies.at(-1)!
      await handling.untilSaid(/^handling$/m)
      handling.signal('SIGSTOP')
      await Promise.all(zombies.map((zombie, i) => until(`${groups[i]} stands still`, () => zombie.isFrozen())))
      const asleep = pause(2 * sessionTimeoutMs)

      await start({ ...settings, groups })
      await publish(5)
      expect(await untilHandled(aggregate, groups)).toEqual(groups.map(() => exactly(5 * 2 * 2 * keys.length)))
      const ends = (await broker.offsets(`outbox.event.${aggregate}`, 'latest')).reduce((sum, end) => sum + end, 0)
      await until('Kafka knows of it', async () => (await noted(aggregate, groups)).every((offset) => offset === ends))
      await asleep

      for (const zombie of zombies) zombie.signal('SIGCONT')
      handling.tell('go on')
      await Promise.all(
        zombies.map((zombie, i) =>
          until(
            `${groups[i]} has heard that its partitions went`,
            () => zombie.timesSaid('abandoned') + zombie.timesSaid('released') + zombie.timesSaid('fenced') > 0,
          ),
        ),
      )
      // As much again, shared by both.
      await publish(5)
      expect(await untilHandled(aggregate, groups)).toEqual(groups.map(() => exactly(5 * 3 * 2 * keys.length)))
      expect(await due(aggregate)).toBe(5 * 3 * 2 * keys.length)
      const histories = await Promise.all(groups.map((group) => history.of(group)))
      for (const each of histories) expect(each.size).toBe(partitions)
      const back = groups.map((group, i) => [group, stepsBack(histories[i]!)])
      expect(Object.fromEntries(back)).toEqual(Object.fromEntries(groups.map((group) => [group, []])))
      await stopAll(zombies)
    },
  )

  test('at any moment under load loses, doubles and reorders nothing, however often', { timeout: 60_000 + seconds * 3_000 }, async () => {
    const group = kafka.name('group')
    const settings: WorkerSettings = {
      url,
      kafka: { brokers: kafka.brokers },
      aggregate: kafka.name('zombie'),
      consumer: { sessionTimeoutMs },
    }
    const producer = startWorker({ ...settings, relay: true, publishes: { keys: 50, seed, writers: 4, pauseMs: 15 } })
    await producer.untilSaid(/^started$/m)
    const history = await offsetHistory({ brokers: kafka.brokers })
    const members = [1, 2].map(() => startWorker({ ...settings, groups: [group] }))
    await Promise.all(members.map((member) => member.untilSaid(/^taken$/m)))
    const freezes = await freezeInTurns(members, { seed, forMs: seconds * 1_000, betweenMs: 300, frozenMs: 2 * sessionTimeoutMs })
    const published = await quiet(producer)
    const [outcome] = await untilHandled(settings.aggregate, [group])
    console.log(`seed ${seed}:`, JSON.stringify({ freezes, ...outcome }))
    expect(outcome).toEqual(exactly(published))
    const offsets = await history.of(group)
    expect(offsets.size).toBeGreaterThan(0)
    expect(stepsBack(offsets)).toEqual([])
    await stopAll([producer, ...members])
  })
})
