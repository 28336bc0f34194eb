/**
 * `npm run bench -- kafka`: producing, the outbox table → Kafka, effects once from Kafka, and the time from commit to effect; beside Kafka's own
 * producer, Debezium on Kafka Connect, and loops written by hand. What is measured and how the others are set up: docs/design/benchmarks.md.
 */
import { debeziumVersion, kafkaVersion } from '../servers/jar-sets.ts'
import { best } from './consume/peer-settings.ts'
import { summarize } from './harness/result.ts'
import { runBench } from './harness/run-bench.ts'
import { runRounds } from './harness/rounds.ts'
import { brokerSettings, startBroker } from './kafka/broker.ts'
import { withConsumeBacklog } from './kafka/consume.ts'
import { debeziumSettings, promptDebezium, smallHeap } from './kafka/debezium-settings.ts'
import { producerSettings } from './kafka/producer-settings.ts'
import { relaySettings } from './kafka/relay-settings.ts'
import { ratios } from './kafka/ratios.ts'
import { allContenders, sizes, tunedContenders } from './kafka/sections.ts'

await runBench('kafka', { rounds: 3, messages: 200_000, quickMessages: 5_000 }, async (server, options) => {
  const { rounds, tune, only = '' } = options
  const size = sizes(options)
  const broker = await startBroker()
  try {
    const contenders = (tune ? tunedContenders : allContenders)(server, broker, options).filter(({ name }) => name.includes(only))
    const measure = async () => summarize(await runRounds(contenders, rounds))
    const consumes = contenders.some(({ name }) => name.endsWith(', consume'))
    const results = await (consumes ? withConsumeBacklog(server, broker, size.consumed, measure) : measure())
    return {
      settings: {
        messageBytes: '130 to 4,096, 560 on average',
        ...size,
        relays: relaySettings,
        kafka: { version: kafkaVersion, ...brokerSettings },
        debezium: { version: debeziumVersion, backlog: best(debeziumSettings)[1], smallHeap, commitToEffect: promptDebezium },
        producerPerformance: best(producerSettings)[1],
      },
      results,
      ratios: ratios(results),
    }
  } finally {
    await broker.stop()
  }
})
