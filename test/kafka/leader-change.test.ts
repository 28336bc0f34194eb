import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { KafkaNode } from '../../servers/kafka-node.ts'
import { type KafkaCluster, startKafka } from '../../servers/kafka.ts'
import { createTopics } from '../../src/drivers/kafka/topics/create-topics.ts'
import { Cluster } from '../../src/drivers/kafka/wire/cluster.ts'
import { systemClock } from '../../src/internal/clock.ts'
import { ownKafkaAvailable, uniqueName } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { explainLoss } from './support/explain-loss.ts'
import { exactly, loadDatabase } from './support/load.ts'
import { type Worker, makeWorker } from './support/make-worker.ts'
import { NodeRoles } from './support/node-roles.ts'
import { quiet, startWorker, stopAll } from './support/start-worker.ts'
import { cleanWire, readWire, wireOutcome } from './support/wire.ts'

const seed = Number(process.env.TIDEMARK_RACE_SEED ?? Date.now() % 100_000)
/** Each of them alone, instead of all that one node leads and coordinates by its one death. */
const isLong = process.env.TIDEMARK_RACE_SECONDS !== undefined
const protocols = ['classic', 'consumer'] as const

const connect = (brokers: readonly string[]): Cluster =>
  new Cluster({
    brokers,
    clientId: 'test',
    connectTimeoutMs: 5_000,
    requestTimeoutMs: 10_000,
    tls: undefined,
    sasl: undefined,
    clock: systemClock,
  })

describe.skipIf(ownKafkaAvailable.missing)(
  `a cluster of three Kafka nodes under load${ownKafkaAvailable.note}`,
  { timeout: 240_000 },
  async () => {
    const loads = await loadDatabase('kafka_leaders')
    const { url, database, untilHandled } = loads
    let cluster: KafkaCluster
    let roles: NodeRoles
    const members: Worker[] = []
    beforeAll(async () => {
      cluster = await startKafka({ nodes: 3 })
      roles = new NodeRoles(cluster)
      return async () => {
        await roles.close()
        await cluster.stop()
      }
    })
    afterEach(() => Promise.all(members.splice(0).map((member) => member.stop())))

    test('has every topic that one of its nodes knows, whichever node is asked', async () => {
      const clusters = cluster.brokers.map((broker) => connect([broker]))
      // So that each knows all nodes, of which it asks one at random.
      await Promise.all(clusters.map((each) => each.describe(['nothing'])))
      for (const name of Array.from({ length: 15 }, () => uniqueName('new'))) {
        const defaults = { partitions: 3, replicationFactor: -1, retentionMs: undefined, timeoutMs: 30_000 }
        await createTopics(clusters[0]!, systemClock, [{ name }], defaults)
        const found = await Promise.all(clusters.map((each) => each.describe([name])))
        expect(found.map((topics) => topics.length)).toEqual([1, 1, 1])
      }
      await Promise.all(clusters.map((each) => each.close()))
    })

    test('goes on when the nodes that lead and coordinate are killed and come back: nothing is lost, doubled or reordered', async () => {
      const { brokers } = cluster
      const aggregate = uniqueName('leaders')
      const topic = `outbox.event.${aggregate}`
      const transactionalIdPrefix = uniqueName('tx')
      const producer = startWorker({
        ...{ url, aggregate, relay: true, kafka: { brokers, fenceStreams: true, transactionalIdPrefix } },
        publishes: { keys: 50, seed, writers: 4, pauseMs: 25 },
      })
      await producer.untilSaid(/^started$/m)
      await until('the relay has a transactional id', async () => (await roles.transactionalId(transactionalIdPrefix)) !== null)
      const transactionalId = (await roles.transactionalId(transactionalIdPrefix))!
      const ofTransactions = await roles.coordinating('transaction', transactionalId)
      // One node for both groups.
      const ofGroups = isLong ? cluster.nodes.find((node) => node !== ofTransactions)! : ofTransactions!
      const groups = await Promise.all(protocols.map((protocol) => roles.nameCoordinatedBy(ofGroups, 'group', () => uniqueName(protocol))))
      for (const [i, groupProtocol] of protocols.entries()) {
        const member = () => makeWorker({ url, aggregate, groups: [groups[i]!], kafka: { brokers, groupProtocol } })
        members.push(member(), member())
      }
      await Promise.all(members.map(({ service }) => service.start()))

      const tell = async (): Promise<void> => {
        for (const group of groups) console.log(await explainLoss(loads, brokers, aggregate, group))
        for (const { service } of members) console.log(JSON.stringify((await service.status()).groups))
        console.log(producer.stderr)
      }
      const untilMore = async (): Promise<void> => {
        const effects = async () => {
          const rows = await database.query<{ grp: string; n: number }>(
            'select grp, count(*)::int as n from effect where aggregate = $1 group by 1',
            [aggregate],
          )
          return groups.map((group) => rows.find(({ grp }) => grp === group)?.n ?? 0)
        }
        const before = await effects()
        const more = async () => (await effects()).every((n, i) => n >= before[i]! + 100)
        await until('each group handles more', more, 90_000).catch(async (error: unknown) => {
          await tell()
          throw error
        })
      }

      const coordinatesGroups = () => roles.coordinating('group', groups[0]!)
      const coordinatesTransactions = () => roles.coordinating('transaction', transactionalId)
      const victims: Readonly<Record<string, () => Promise<KafkaNode | null>>> = isLong
        ? {
            'leads partition 0': () => roles.leading(topic, 0),
            'coordinates the groups': coordinatesGroups,
            'coordinates the transactions': coordinatesTransactions,
          }
        : {
            'coordinates groups and transactions, and leads some partitions': async () =>
              (await coordinatesGroups()) === null ? null : coordinatesTransactions(),
          }
      await untilMore()
      for (const [what, find] of Object.entries(victims)) {
        const begun = performance.now()
        const seconds = () => ((performance.now() - begun) / 1_000).toFixed(1)
        const victim = (await find())!
        await victim.kill()
        await until('another node does its work', async () => (await find().catch(() => null)) !== null)
        const after = seconds()
        await untilMore()
        console.log(`node ${victim.id}, which ${what}: another does after ${after} s, more is handled after ${seconds()} s`)
        await victim.start(3)
        await untilMore()
      }
      const published = await quiet(producer)
      const outcomes = await untilHandled(aggregate, groups)
      console.log(`seed ${seed}:`, JSON.stringify(outcomes))
      if (outcomes.some(({ lost }) => lost > 0)) await tell()
      expect(outcomes).toEqual(groups.map(() => exactly(published)))
      expect(wireOutcome(await readWire({ brokers }, topic))).toEqual(cleanWire(published))
      expect(await database.query('select reason from tidemark.dead_letter')).toEqual([])
      await stopAll([producer])
    })
  },
)
