import { test as base, beforeAll, describe, expect } from 'vitest'
import { kafkaTool } from '../../../servers/tools.ts'
import { deferred } from '../../../src/internal/deferred.ts'
import { type TestKafka, groupProtocols, kafkaAvailable, testKafka } from '../../support/kafka.ts'
import { until } from '../../support/until.ts'
import { TestProcess, rejection, share } from './support/group-member.ts'

interface Fixtures {
  /** Makes a process of the test's own. */
  readonly process: () => TestProcess
}

/** They mostly wait for sessions and heartbeats, each in a group of its own: so they run side by side. */
describe.skipIf(kafkaAvailable.missing).concurrent(`membership of Kafka groups${kafkaAvailable.note}`, () => {
  let kafka: TestKafka
  beforeAll(async () => {
    kafka = await testKafka()
  })
  const test = base.extend<Fixtures>({
    // The runner insists on a destructuring pattern.
    process: async ({}, use) => {
      const processes: TestProcess[] = []
      await use(() => {
        const one = new TestProcess(kafka.brokers)
        processes.push(one)
        return one
      })
      await Promise.all(processes.map((one) => one.close()))
    },
  })

  describe.each(groupProtocols)('by the protocol %s', (protocol) => {
    /** A topic and a group of the test's own. */
    const place = async (process: TestProcess, partitions = 8) => {
      const topic = kafka.name('t')
      await process.createTopic(topic, partitions)
      return { group: kafka.name('g'), topics: [topic], protocol }
    }

    test('three members share all partitions evenly, and what a member keeps is not told again', async ({ process }) => {
      const here = await place(process())
      const one = process().member(here)
      await one.member.join()
      await until('the first to have all', () => one.held().length === 8)
      const [two, three] = [process().member(here), process().member(here)]
      await Promise.all([two.member.join(), three.member.join()])
      await until('three members to share', () => share([one, two, three], 8))
      const given = one.told
        .filter((what) => what.startsWith('assigned'))
        .join()
        .match(/\d/g)!
      expect(given.length - new Set(given).size).toBeLessThan(8)
      expect([one, two, three].flatMap(({ told }) => told).filter((what) => what.startsWith('lost'))).toEqual([])
      expect(new Set([one, two, three].map(({ member }) => member.identity()!.memberId)).size).toBe(3)
    })

    test('a partition changes hands only after its owner has drained it', async ({ process }) => {
      const here = await place(process())
      const drained = deferred()
      const one = process().member(here, () => drained.promise)
      await one.member.join()
      await until('the first to have all', () => one.held().length === 8)
      const two = process().member(here)
      await two.member.join()
      await until('the first to be asked for some', () => one.told.some((what) => what.startsWith('revoked')))
      const three = process().member(here)
      await three.member.join()
      // Long enough for everybody's next heartbeats and rejoins.
      await new Promise((resolve) => setTimeout(resolve, 2_500))
      expect([one.held().length, two.held().length, three.held().length]).toEqual([8, 0, 0])
      drained.resolve()
      await until('all three to share', () => share([one, two, three], 8))
      expect(one.told.filter((what) => what.startsWith('lost'))).toEqual([])
    })

    test('a drain past its deadline is not waited for, and its member is told', async ({ process }) => {
      const here = { ...(await place(process())), drainTimeoutMs: 1_500 }
      const one = process().member(here, () => new Promise(() => undefined))
      await one.member.join()
      await until('the first to have all', () => one.held().length === 8)
      const two = process().member(here)
      await two.member.join()
      await until('both to share', () => share([one, two], 8))
      expect(one.told.map((what) => what.split(' ')[0])).toEqual(['assigned', 'revoked', 'lost'])
    })

    test('the partitions of a member that falls silent go to the others after its session, not before', async ({ process }) => {
      const here = await place(process())
      const [one, two] = [process().member(here), process().member(here)]
      await Promise.all([one.member.join(), two.member.join()])
      await until('both to share', () => share([one, two], 8))
      const since = performance.now()
      one.member.end()
      await until('the other to have all', () => two.held().length === 8, 60_000)
      expect(performance.now() - since).toBeGreaterThan(4_000)
    })

    test('leaving drains what is held, gives it to the others at once, and leaves nothing behind', async ({ process }) => {
      const here = await place(process())
      const [one, two] = [process().member(here), process().member(here)]
      await Promise.all([one.member.join(), two.member.join()])
      await until('both to share', () => share([one, two], 8))
      await Promise.all([one.member.leave(), one.member.leave()])
      expect([one.held(), one.told.at(-1)!.split(' ')[0], one.member.identity()]).toEqual([[], 'revoked', null])
      const since = performance.now()
      await until('the other to have all', () => two.held().length === 8)
      expect(performance.now() - since).toBeLessThan(5_000)
      await two.member.leave()
      const three = process().member(here)
      await three.member.join()
      await until('the next to have all', () => three.held().length === 8)
    })

    test('a topic that does not exist cannot be joined', async ({ process }) => {
      const here = await place(process())
      const { member } = process().member({ ...here, topics: [...here.topics, kafka.name('nowhere')] })
      expect(await rejection(member.join())).toBe('TOPIC_UNKNOWN')
    })

    test('partitions that are added later are given out', async ({ process }) => {
      const here = await place(process(), 2)
      const [one, two] = [process().member(here), process().member(here)]
      await Promise.all([one.member.join(), two.member.join()])
      await until('both to share', () => share([one, two], 2))
      await process().growTopic(here.topics[0]!, 6)
      await until('both to share what there is now', () => share([one, two], 6), 60_000)
    })

    test('a topic that is deleted is lost, and assigned again once it was made anew, with its new id', async ({ process }) => {
      const here = await place(process(), 2)
      const one = process().member(here)
      await one.member.join()
      await until('the first to have all', () => one.held().length === 2)
      const { topicId } = one.partitions()[0]!
      const other = process()
      await other.deleteTopic(here.topics[0]!)
      await until('it to be lost', () => one.held().length === 0)
      await other.createTopic(here.topics[0]!, 2)
      await until('the new one to be assigned', () => one.held().length === 2, 60_000)
      expect(one.partitions().map((partition) => partition.topicId === topicId)).toEqual([false, false])
      expect(one.told.map((what) => what.split(' ')[0])).not.toContain('revoked')
    })

    test("Kafka's own tool shows the members and what they have", async ({ process }) => {
      const here = await place(process(), 4)
      const [one, two] = [process().member(here), process().member(here)]
      await Promise.all([one.member.join(), two.member.join()])
      await until('both to share', () => share([one, two], 4))
      const { stdout, stderr } = await kafkaTool('kafka-consumer-groups', [
        ...['--bootstrap-server', kafka.brokers[0]!],
        ...['--describe', '--group', here.group, '--members', '--verbose'],
      ])
      for (const { member, held } of [one, two]) {
        const line = stdout.split('\n').find((text) => text.includes(member.identity()!.memberId))
        const numbers = held()
          .map((name) => name.split('/')[1])
          .join()
        expect(line ?? `${stdout}${stderr}`).toContain(numbers)
        expect(line).toContain(here.topics[0]!)
      }
    })
  })

  test('a session time-out that the brokers do not allow says which settings', async ({ process }) => {
    const [topic, one] = [kafka.name('t'), process()]
    await one.createTopic(topic, 1)
    const { member } = one.member({ group: kafka.name('g'), topics: [topic], protocol: 'classic', sessionTimeoutMs: 10 })
    await expect(member.join()).rejects.toThrow('group.min.session.timeout.ms')
  })

  test('members of the two protocols do not meet in one group without saying so', async ({ process }) => {
    const [topic, group] = [kafka.name('t'), kafka.name('g')]
    await process().createTopic(topic, 2)
    const old = process().member({ group, topics: [topic], protocol: 'classic' })
    await old.member.join()
    await until('it to have all', () => old.held().length === 2)
    const next = process().member({ group, topics: [topic], protocol: 'consumer' })
    const ended = await rejection(next.member.join())
    // A broker may also be set to let a group change over (group.consumer.migration.policy): then both share.
    if (ended === 'none') await until('both to share', () => share([old, next], 2))
    else expect(ended).toBe('CONFIG_INVALID')
  })
})
