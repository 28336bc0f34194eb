import { describeGroupsV5 } from '@platformatic/kafka'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { kafkaTool } from '../../servers/tools.ts'
import { Cluster } from '../../src/drivers/kafka/wire/cluster.ts'
import { systemClock } from '../../src/internal/clock.ts'
import { type TestKafka, kafkaAvailable, ownKafkaAvailable, testKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { exactly, loadDatabase } from './support/load.ts'
import { type Worker, makeWorker } from './support/make-worker.ts'
import { quiet, startWorker, stopAll } from './support/start-worker.ts'

const seed = Number(process.env.TIDEMARK_RACE_SEED ?? Date.now() % 100_000)
/** More mixes. */
const isLong = process.env.TIDEMARK_RACE_SECONDS !== undefined
const missing = kafkaAvailable.missing || ownKafkaAvailable.missing
const assignor = (name: string): string => `partition.assignment.strategy=org.apache.kafka.clients.consumer.${name}`

/** How our members share, and how Java's does. Its default offers ranges and cooperative sticky. */
const mixes = [
  ['classic', 'cooperative-sticky', [assignor('CooperativeStickyAssignor')]],
  ['consumer', 'classic', []],
] as const
const moreMixes = [
  ['classic', 'default', []],
  ['classic', 'KIP-848', ['group.protocol=consumer']],
  ['consumer', 'KIP-848', ['group.protocol=consumer']],
] as const

describe.skipIf(missing)(`a group with a member that is Kafka's own consumer${ownKafkaAvailable.note}`, { timeout: 120_000 }, async () => {
  const { url, untilHandled } = await loadDatabase('kafka_mixed')
  const members: Worker[] = []
  const javas: AbortController[] = []
  let kafka: TestKafka
  beforeAll(async () => {
    kafka = await testKafka()
  })
  afterEach(async () => {
    for (const java of javas.splice(0)) java.abort()
    await Promise.all(members.splice(0).map((member) => member.stop()))
  })

  /** A console consumer. It ends when it has read so many messages, at `stop`, and with the test. */
  function startJava(topic: string, group: string, messages: number, properties: readonly string[]) {
    const stop = new AbortController()
    javas.push(stop)
    const args = ['--bootstrap-server', kafka.brokers.join(), '--topic', topic, '--group', group, '--max-messages', String(messages)]
    const more = properties.flatMap((property) => ['--consumer-property', property])
    return { ended: kafkaTool('kafka-console-consumer', [...args, ...more], { signal: stop.signal }), stop: () => stop.abort() }
  }

  /** A producer at work, and what makes members that handle what it sends. */
  async function load(groupProtocol: 'classic' | 'consumer') {
    const common = { url, kafka: { brokers: kafka.brokers, groupProtocol }, aggregate: kafka.name('mixed') }
    const group = kafka.name('group')
    const producer = startWorker({ ...common, relay: true, publishes: { keys: 50, seed, writers: 2, pauseMs: 25 } })
    await producer.untilSaid(/^started$/m)
    const join = async (): Promise<Worker> => {
      const member = makeWorker({ ...common, groups: [group] })
      members.push(member)
      await member.service.start()
      return member
    }
    const expectAll = async (): Promise<void> => {
      const published = await quiet(producer)
      expect(await untilHandled(common.aggregate, [group])).toEqual([exactly(published)])
      await stopAll([producer])
    }
    return { topic: `outbox.event.${common.aggregate}`, group, join, expectAll }
  }

  async function membersOf(group: string): Promise<number> {
    const timeouts = { connectTimeoutMs: 5_000, requestTimeoutMs: 5_000 }
    const cluster = new Cluster({ ...kafka, clientId: 'test', ...timeouts, tls: undefined, sasl: undefined, clock: systemClock })
    try {
      const found = await cluster.call(await cluster.coordinator('group', group), describeGroupsV5.api, [[group], false])
      return found.groups[0]?.groupState === 'Stable' ? found.groups[0].members.length : 0
    } finally {
      await cluster.close()
    }
  }

  test.each(isLong ? [...mixes, ...moreMixes] : mixes)(
    'by the protocol %s, Java by its %s: it reads its share, and we handle all once, in order, what it read included',
    async (protocol, _, properties) => {
      const { topic, group, join, expectAll } = await load(protocol)
      await Promise.all([join(), join()])
      const { code, stdout, stderr } = await startJava(topic, group, 30, properties).ended
      expect([code, stdout.trim().split('\n').length], stderr).toEqual([0, 30])
      await expectAll()
    },
  )

  test('that shares in another way and was first: we say what to do, and it goes on', async () => {
    const { topic, group, join, expectAll } = await load('classic')
    const java = startJava(topic, group, 1e6, [assignor('RangeAssignor')])
    await until('Java is a member', async () => (await membersOf(group)) === 1)
    const refused = await join()
    await expect(refused.service.done).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/INCONSISTENT_GROUP_PROTOCOL.*another way to share.*cooperative-sticky/) as string,
    })
    expect(await membersOf(group)).toBe(1)
    java.stop()
    await java.ended
    await join()
    await expectAll()
  })

  test.runIf(isLong)('that shares in another way and came later: it is refused, and we go on', async () => {
    const { topic, group, join, expectAll } = await load('classic')
    await Promise.all([join(), join()])
    const { code, stdout, stderr } = await startJava(topic, group, 1, [assignor('RangeAssignor')]).ended
    expect([code, stdout]).toEqual([0, ''])
    expect(stderr).toContain('InconsistentGroupProtocolException')
    await expectAll()
  })
})
