import { beforeAll, describe, expect, test } from 'vitest'
import { type TestKafka, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { exactly, loadDatabase } from './support/load.ts'
import { makeWorker } from './support/make-worker.ts'
import { pause } from './support/pause.ts'
import { quiet, startWorker, stopAll } from './support/start-worker.ts'

/** Of the load, in each protocol. */
const seconds = Number(process.env.TIDEMARK_RACE_SECONDS ?? 10)
const seed = Number(process.env.TIDEMARK_RACE_SEED ?? Date.now() % 100_000)
const everyMs = 2_000

/** Members in this process: what a rebalance does to them is the same, and each of them is a real one, not the start of a program. */
describe.skipIf(kafkaAvailable.missing)(`a rebalance every two seconds under load on Kafka${kafkaAvailable.note}`, async () => {
  const { url, untilHandled } = await loadDatabase('kafka_rebalance')
  let kafka: TestKafka
  beforeAll(async () => {
    kafka = await testKafka()
  })

  test.each(['classic', 'consumer'] as const)(
    'loses and doubles nothing, and keeps the order of each key (%s)',
    { timeout: 120_000 + seconds * 3_000 },
    async (groupProtocol) => {
      const common = { url, kafka: { brokers: kafka.brokers, groupProtocol }, aggregate: kafka.name('rebalance') }
      const producer = startWorker({ ...common, relay: true, publishes: { keys: 50, seed, writers: 4, pauseMs: 15 } })
      await producer.untilSaid(/^started$/m)
      const group = kafka.name('group')
      const member = () => makeWorker({ ...common, groups: [group] })
      const members = [member(), member()]
      await Promise.all(members.map(({ service }) => service.start()))
      let rebalances = 0
      for (const end = performance.now() + seconds * 1_000; performance.now() < end; rebalances++) {
        const due = pause(everyMs)
        if (rebalances % 2 === 1) await members.shift()!.stop()
        else {
          members.push(member())
          await members.at(-1)!.service.start()
        }
        await due
      }
      const published = await quiet(producer)
      const [outcome] = await untilHandled(common.aggregate, [group])
      console.log(`seed ${seed}, ${groupProtocol}:`, JSON.stringify({ rebalances, ...outcome }))
      expect(outcome).toEqual(exactly(published))
      await Promise.all(members.map((one) => one.stop()))
      await stopAll([producer])
    },
  )
})
