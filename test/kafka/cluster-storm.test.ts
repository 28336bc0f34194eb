import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type KafkaCluster, startKafka } from '../../servers/kafka.ts'
import { seeded } from '../outbox/support/adversary.ts'
import { ownKafkaAvailable, uniqueName } from '../support/kafka.ts'
import { explainLoss } from './support/explain-loss.ts'
import { exactly, loadDatabase } from './support/load.ts'
import { type Worker, makeWorker } from './support/make-worker.ts'
import { pause } from './support/pause.ts'
import { quiet, startWorker, stopAll } from './support/start-worker.ts'
import { cleanWire, readWire, wireOutcome } from './support/wire.ts'

/** It takes long, so only where it is asked for. */
const seconds = Number(process.env.TIDEMARK_RACE_SECONDS ?? 0)
const seed = Number(process.env.TIDEMARK_RACE_SEED ?? Date.now() % 100_000)
const protocols = ['classic', 'consumer'] as const
type Protocol = (typeof protocols)[number]

describe.skipIf(ownKafkaAvailable.missing || seconds === 0)(
  `nodes of a cluster and members of two groups, killed and frozen all at once${ownKafkaAvailable.note}`,
  { timeout: 240_000 + seconds * 3_000 },
  async () => {
    const loads = await loadDatabase('kafka_cluster_storm')
    const { url, untilHandled } = loads
    const members: Worker[] = []
    let cluster: KafkaCluster
    beforeAll(async () => {
      cluster = await startKafka({ nodes: 3 })
      return () => cluster.stop()
    })
    afterEach(() => Promise.all(members.splice(0).map((member) => member.stop())))

    test('lose and double nothing, neither in the database nor on the wire, and keep the order of each key', async () => {
      const { brokers, nodes } = cluster
      const aggregate = uniqueName('storm')
      const groups = { classic: uniqueName('classic'), consumer: uniqueName('consumer') }
      const settings = (groupProtocol: Protocol) => ({ url, aggregate, groups: [groups[groupProtocol]], kafka: { brokers, groupProtocol } })
      const random = seeded(seed)
      const counts = { members: 0, nodes: 0 }
      const producer = startWorker({
        ...{ url, aggregate, relay: true, kafka: { brokers, fenceStreams: true } },
        publishes: { keys: 50, seed, writers: 2, pauseMs: 30 },
      })
      await producer.untilSaid(/^started$/m)
      for (const protocol of protocols) members.push(makeWorker(settings(protocol)))
      await Promise.all(members.map(({ service }) => service.start()))
      const end = performance.now() + seconds * 1_000

      /** Of each group one member stays; processes come and are killed, others come and leave. */
      const tormentMembers = async (protocol: Protocol): Promise<void> => {
        while (performance.now() < end) {
          const victim = startWorker(settings(protocol))
          await pause(1_500 + random() * 3_000)
          await victim.kill()
          counts.members += 1
          if (random() < 0.6) continue
          const passing = makeWorker(settings(protocol))
          await passing.service.start()
          await pause(random() * 1_500)
          await passing.stop()
        }
      }
      /** One at a time, since two of three must live for the others' writes. */
      const tormentNodes = async (): Promise<void> => {
        while (performance.now() < end) {
          const node = nodes[Math.floor(random() * nodes.length)]!
          if (random() < 0.3) {
            node.pause()
            await pause(random() * 8_000)
            node.resume()
          } else {
            await node.kill()
            await pause(random() * 6_000)
            await node.start(nodes.length)
          }
          counts.nodes += 1
          await pause(random() * 2_000)
        }
      }
      await Promise.all([...protocols.map(tormentMembers), tormentNodes()])

      const published = await quiet(producer)
      const outcomes = await untilHandled(aggregate, Object.values(groups))
      console.log(`seed ${seed}:`, JSON.stringify({ ...counts, outcomes }))
      if (outcomes.some(({ lost }) => lost > 0)) {
        for (const group of Object.values(groups)) console.log(await explainLoss(loads, brokers, aggregate, group))
        for (const { service } of members) console.log(JSON.stringify((await service.status()).groups))
        console.log(producer.stderr)
      }
      expect(outcomes).toEqual([exactly(published), exactly(published)])
      expect(wireOutcome(await readWire({ brokers }, `outbox.event.${aggregate}`))).toEqual(cleanWire(published))
      await stopAll([producer])
    })
  },
)
