import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { seeded } from '../outbox/support/adversary.ts'
import type { ChildProgram } from '../support/child-program.ts'
import { type TestKafka, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { explainLoss } from './support/explain-loss.ts'
import { exactly, loadDatabase } from './support/load.ts'
import { type Worker, makeWorker } from './support/make-worker.ts'
import { pause } from './support/pause.ts'
import { quiet, startWorker, stopAll } from './support/start-worker.ts'

/** Of the load, in each protocol; the least is one of each kind of step. */
const seconds = Number(process.env.TIDEMARK_RACE_SECONDS ?? 6)
const seed = Number(process.env.TIDEMARK_RACE_SEED ?? Date.now() % 100_000)
const everyMs = 2_000

/**
 * Members that leave in order are instances in this process, and those that are killed are processes: what the group sees of the two is the same, and a
 * program takes long to start.
 */
describe.skipIf(kafkaAvailable.missing)(
  `members that come, go and are killed every two seconds on Kafka${kafkaAvailable.note}`,
  async () => {
    const loads = await loadDatabase('kafka_storm')
    const { url, database, untilHandled } = loads
    const instances: Worker[] = []
    let kafka: TestKafka
    beforeAll(async () => {
      kafka = await testKafka()
    })
    afterEach(() => Promise.all(instances.splice(0).map((one) => one.stop())))

    test.each(['classic', 'consumer'] as const)(
      'lose and double nothing, and keep the order of each key (%s)',
      { timeout: 120_000 + seconds * 3_000 },
      async (groupProtocol) => {
        const common = { url, kafka: { brokers: kafka.brokers, groupProtocol }, aggregate: kafka.name('storm') }
        const producer = startWorker({ ...common, relay: true, publishes: { keys: 50, seed, writers: 4, pauseMs: 15 } })
        const group = kafka.name('group')
        const random = seeded(seed)
        const processes: ChildProgram[] = []
        const counts = { joins: 0, leaves: 0, kills: 0 }
        const join = async (): Promise<void> => {
          const one = makeWorker({ ...common, groups: [group] })
          instances.push(one)
          counts.joins += 1
          await one.service.start()
        }
        const leave = async (): Promise<void> => {
          const [one] = instances.splice(Math.floor(random() * instances.length), 1)
          counts.leaves += 1
          await one!.stop()
        }
        /** Starts the next victim, which joins when it is ready, and kills the one before at some moment of the step. */
        const replace = async (): Promise<void> => {
          const victim = processes.shift()!
          processes.push(startWorker({ ...common, groups: [group] }))
          counts.joins += 1
          await pause(random() * everyMs)
          await victim.kill()
          counts.kills += 1
        }
        processes.push(startWorker({ ...common, groups: [group] }))
        await producer.untilSaid(/^started$/m)
        await Promise.all([join(), join(), processes[0]!.untilSaid(/^taken$/m)])
        const steps = [join, replace, leave]
        for (let step = 0, end = performance.now() + seconds * 1_000; performance.now() < end; step++) {
          const due = pause(everyMs)
          await steps[step % steps.length]!()
          await due
        }
        const published = await quiet(producer)
        const [outcome] = await untilHandled(common.aggregate, [group])
        console.log(`seed ${seed}, ${groupProtocol}:`, JSON.stringify({ ...counts, ...outcome }))
        if (outcome!.lost > 0) {
          console.log(await explainLoss(loads, kafka.brokers, common.aggregate, group))
          for (const { service } of instances) console.log(JSON.stringify((await service.status()).groups))
          for (const { stderr } of [producer, ...processes]) console.log(stderr)
        }
        expect(outcome).toEqual(exactly(published))
        expect(await database.query('select reason from tidemark.dead_letter')).toEqual([])
        await stopAll([producer, ...processes])
      },
    )
  },
)
