import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { KafkaCluster } from '../../../servers/kafka.ts'
import { groupProtocols, ownKafka, ownKafkaAvailable, uniqueName } from '../../support/kafka.ts'
import { until } from '../../support/until.ts'
import { TestProcess, share } from './support/group-member.ts'

describe.skipIf(ownKafkaAvailable.missing)(`groups on a broker in trouble${ownKafkaAvailable.note}`, async () => {
  if (ownKafkaAvailable.missing) return
  // Both of the brokers' settings, so that sessions end soon in either protocol.
  const kafka: KafkaCluster = await ownKafka({ properties: { 'group.consumer.session.timeout.ms': 3_000 } })
  const node = kafka.nodes[0]!
  const processes: TestProcess[] = []
  const process = (): TestProcess => {
    const one = new TestProcess(kafka.brokers)
    processes.push(one)
    return one
  }

  beforeAll(() => node.start())
  afterEach(async () => {
    node.resume()
    // It is kept out of the cluster for a moment.
    await node.start()
    await Promise.all(processes.splice(0).map((one) => one.close()))
  })

  describe.each(groupProtocols)('by the protocol %s', (protocol) => {
    const place = async (sessionTimeoutMs: number) => {
      const topic = uniqueName('t')
      await process().createTopic(topic, 4)
      return { group: uniqueName('g'), topics: [topic], protocol, sessionTimeoutMs }
    }

    test('a broker that answers nothing for longer than the session: members lose everything by their own clock, and share again after it', async () => {
      const here = await place(3_000)
      const [one, two] = [process().member(here), process().member(here)]
      await Promise.all([one.member.join(), two.member.join()])
      await until('both to share', () => share([one, two], 4))
      node.pause()
      const since = performance.now()
      await until('both to have lost everything', () => one.held().length + two.held().length === 0)
      expect(performance.now() - since).toBeLessThan(6_000)
      expect([one.told.at(-1), two.told.at(-1)].every((what) => what!.startsWith('lost'))).toBe(true)
      node.resume()
      await until('both to share again', () => share([one, two], 4), 60_000)
      expect([...one.failures, ...two.failures]).toEqual([])
    }, 120_000)

    test('leaving a broker that answers nothing takes no longer than the drain and a few seconds', async () => {
      const one = process().member(await place(30_000))
      await one.member.join()
      await until('it to have all', () => one.held().length === 4)
      node.pause()
      const since = performance.now()
      await one.member.leave()
      expect(performance.now() - since).toBeLessThan(6_000)
      expect(one.told.at(-1)).toMatch(/^revoked/)
    }, 120_000)
  })

  test('a broker that is killed and comes back within the session: members go on with what they have', async () => {
    const topic = uniqueName('t')
    await process().createTopic(topic, 4)
    const here = { group: uniqueName('g'), topics: [topic], protocol: 'classic' as const, sessionTimeoutMs: 60_000 }
    const [one, two] = [process().member(here), process().member(here)]
    await Promise.all([one.member.join(), two.member.join()])
    await until('both to share', () => share([one, two], 4))
    const told = [...one.told, ...two.told]
    await node.kill()
    await node.start()
    const three = process().member(here)
    await three.member.join()
    await until('all three to share', () => share([one, two, three], 4), 60_000)
    const since = [...one.told, ...two.told].slice(told.length)
    expect(since.filter((what) => what.startsWith('lost'))).toEqual([])
    expect([...one.failures, ...two.failures]).toEqual([])
  }, 180_000)

  test('a broker that was frozen makes topics as soon as the cluster lets it in again', async () => {
    const one = process()
    await one.createTopic(uniqueName('t'), 1)
    node.pause()
    // Longer than the broker's own session.
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    node.resume()
    for (let i = 0; i < 15; i++) await one.createTopic(uniqueName('t'), 1)
  }, 60_000)
})
