import { afterEach, beforeAll, describe, test } from 'vitest'
import { type KafkaCluster, startKafka } from '../../servers/kafka.ts'
import type { KafkaBrokerOptions } from '../../src/drivers/kafka/index.ts'
import { ownKafkaAvailable } from '../support/kafka.ts'
import { loadDatabase } from './support/load.ts'
import { pause } from './support/pause.ts'
import { type RunningLoad, runLoad } from './support/running-load.ts'
import { steadyOnABusyMachine } from './support/steady.ts'

const seed = Number(process.env.TIDEMARK_RACE_SEED ?? Date.now() % 100_000)
/** More of each. */
const isLong = process.env.TIDEMARK_RACE_SECONDS !== undefined

describe.skipIf(ownKafkaAvailable.missing)(
  `a Kafka broker that goes away under load${ownKafkaAvailable.note}`,
  { timeout: 180_000 },
  async () => {
    const database = await loadDatabase('kafka_restart')
    let cluster: KafkaCluster
    beforeAll(async () => {
      cluster = await startKafka({ properties: steadyOnABusyMachine })
      return () => cluster.stop()
    })
    const running: RunningLoad[] = []
    afterEach(() => Promise.all(running.splice(0).map((load) => load.end())))

    async function load(options: Partial<KafkaBrokerOptions>): Promise<RunningLoad> {
      const started = await runLoad(database, seed, { brokers: cluster.brokers, ...options })
      running.push(started)
      return started
    }

    test.each([
      // For a moment and for longer; unless there is time, each once.
      ['without a fence', {}, isLong ? [100, 2_500] : [100]],
      ['with streams fenced', { fenceStreams: true }, isLong ? [100, 2_500] : [2_500]],
    ])(
      'killed and started again: relay and consumers go on by themselves, nothing is lost, doubled or reordered (%s)',
      async (_, options, away) => {
        const { untilMore, expectAll } = await load(options)
        for (const awayMs of away) {
          await cluster.nodes[0]!.kill()
          await pause(awayMs)
          await cluster.nodes[0]!.start()
          await untilMore()
        }
        await expectAll()
      },
    )

    test.each([
      ['for longer than a request may take', { requestTimeoutMs: 800 }],
      ['for longer than the relay waits for a delivery', { requestTimeoutMs: 800, deliveryTimeoutMs: 1_000 }],
      ['for longer than both, with streams fenced', { requestTimeoutMs: 800, deliveryTimeoutMs: 1_000, fenceStreams: true }],
    ])('frozen %s: relay and consumers go on by themselves, nothing is lost, doubled or reordered', async (_, options) => {
      const { untilMore, expectAll } = await load(options)
      cluster.nodes[0]!.pause()
      await pause(3_000)
      cluster.nodes[0]!.resume()
      await untilMore()
      await expectAll()
    })
  },
)
