import { beforeAll, describe, expect, test } from 'vitest'
import { seeded } from '../outbox/support/adversary.ts'
import type { ChildProgram } from '../support/child-program.ts'
import { type TestKafka, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { exactly, loadDatabase } from './support/load.ts'
import { pause } from './support/pause.ts'
import { type WorkerSettings, quiet, startWorker, stopAll } from './support/start-worker.ts'

/** Of the load while processes come and go, in each protocol. */
const seconds = Number(process.env.TIDEMARK_RACE_SECONDS ?? 8)
const seed = Number(process.env.TIDEMARK_RACE_SEED ?? Date.now() % 100_000)
const limitMs = 120_000 + seconds * 3_000

describe.skipIf(kafkaAvailable.missing)(`processes of one service that share a topic on Kafka${kafkaAvailable.note}`, async () => {
  const { url, untilHandled } = await loadDatabase('kafka_competing')
  let kafka: TestKafka
  beforeAll(async () => {
    kafka = await testKafka()
  })

  /** A topic of the test's own, and the producer that fills it. */
  async function load(groupProtocol: 'classic' | 'consumer' = 'classic'): Promise<{ common: WorkerSettings; producer: ChildProgram }> {
    const common = { url, kafka: { brokers: kafka.brokers, groupProtocol }, aggregate: kafka.name('competing') }
    const producer = startWorker({ ...common, relay: true, publishes: { keys: 50, seed, writers: 4, pauseMs: 15 } })
    await producer.untilSaid(/^started$/m)
    return { common, producer }
  }

  test.each(['classic', 'consumer'] as const)(
    'handle each message once and in order, whoever of them is added, killed or stopped (%s)',
    { timeout: limitMs },
    async (protocol) => {
      const { common, producer } = await load(protocol)
      const group = kafka.name('group')
      const random = seeded(seed)
      const start = (): ChildProgram => startWorker({ ...common, groups: [group] })
      const alive = [start(), start(), start()]
      const stopped: ChildProgram[] = []
      let killed = 0
      await Promise.all(alive.map((worker) => worker.untilSaid(/^taken$/m)))
      for (const end = performance.now() + seconds * 1_000; performance.now() < end;) {
        alive.push(start())
        await pause(500 + random() * 1_500)
        const [victim] = alive.splice(Math.floor(random() * alive.length), 1)
        if (killed <= stopped.length) {
          victim!.signal('SIGKILL')
          killed += 1
        } else {
          victim!.tell('stop')
          stopped.push(victim!)
        }
      }
      const published = await quiet(producer)
      const [outcome] = await untilHandled(common.aggregate, [group])
      console.log(`seed ${seed}, ${protocol}:`, JSON.stringify({ killed, stopped: stopped.length, ...outcome }))
      expect(outcome).toEqual(exactly(published))
      await stopAll([producer, ...alive, ...stopped])
    },
  )

  test('in two groups of three handle each message once in each group', { timeout: limitMs }, async () => {
    const { common, producer } = await load()
    const groups = [kafka.name('one'), kafka.name('two')]
    const workers = groups.flatMap((group) => Array.from({ length: 3 }, () => startWorker({ ...common, groups: [group] })))
    await Promise.all(workers.map((worker) => worker.untilSaid(/^taken$/m)))
    const published = await quiet(producer)
    expect(await untilHandled(common.aggregate, groups)).toEqual(groups.map(() => exactly(published)))
    await stopAll([producer, ...workers])
  })
})
