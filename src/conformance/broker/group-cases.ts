import assert from 'node:assert/strict'
import type { Case } from '../case.ts'
import { type BrokerFixture, type Member, from, member, rejects, settled, until } from './fixture.ts'

const everything = ['t/0', 't/1', 't/2', 't/3', 't/4', 't/5', 't/6', 't/7']

/** Do these members have each partition exactly once, as evenly as can be? */
function share(members: readonly Member[], partitions: readonly string[] = everything): boolean {
  const all = members.flatMap((one) => one.held())
  const sizes = members.map((one) => one.held().length)
  return all.length === partitions.length && new Set(all).size === all.length && Math.max(...sizes) - Math.min(...sizes) <= 1
}

/** Who reads what, and how it changes hands. */
export const groupCases: readonly Case<BrokerFixture>[] = [
  {
    name: 'a single member is assigned every partition of its topics',
    async run(fixture) {
      const broker = await fixture.connect()
      const [topic] = await broker.topics([{ name: 't', partitions: 8 }])
      const ids = new Set<string>()
      const listener = {
        assigned: (partitions: readonly { topicId: string }[]) => partitions.forEach(({ topicId }) => ids.add(topicId)),
        revoked: async () => undefined,
        lost: () => undefined,
        failed: () => undefined,
      }
      await broker.join({ group: 'other', topics: ['t'] }, listener)
      const one = await member(broker, { group: 'g', topics: ['t'] })
      await until(fixture, 'all to be assigned', () => one.held().length === 8 && ids.size > 0)
      assert.deepEqual(one.held(), everything)
      assert.deepEqual([...ids], [topic!.id])
    },
  },
  {
    name: 'members of one group share all partitions evenly, each with one of them, and groups do not know each other',
    async run(fixture) {
      const brokers = await Promise.all([fixture.connect(), fixture.connect(), fixture.connect()])
      await brokers[0].topics([{ name: 't', partitions: 8 }])
      const members = await Promise.all(brokers.map((broker) => member(broker, { group: 'g', topics: ['t'] })))
      const alone = await member(brokers[0], { group: 'h', topics: ['t'] })
      await until(fixture, 'three members to share', () => share(members))
      await until(fixture, 'the other group to have all', () => alone.held().length === 8)
    },
  },
  {
    name: 'a member that joins gets its part only after the owner has drained it',
    async run(fixture) {
      const [first, second] = [await fixture.connect(), await fixture.connect()]
      await first.topics([{ name: 't', partitions: 8 }])
      const draining: string[] = []
      let drained: () => void = () => undefined
      const one = await member(first, {
        group: 'g',
        topics: ['t'],
        drain: (partitions) => {
          draining.push(...partitions.map(({ topic, partition }) => `${topic}/${partition}`))
          return new Promise((resolve) => (drained = resolve))
        },
      })
      await until(fixture, 'the first to have all', () => one.held().length === 8)
      const two = await member(second, { group: 'g', topics: ['t'] })
      await until(fixture, 'the first to be asked for some', () => draining.length > 0)
      assert.equal(draining.length, 4)
      await fixture.elapse(400)
      assert.deepEqual(two.held(), [])
      assert.equal(one.held().length, 8)
      drained()
      await until(fixture, 'both to share', () => share([one, two]))
      assert.deepEqual(two.held(), draining.sort())
      drained()
    },
  },
  {
    name: 'what a member keeps is neither revoked nor assigned anew when another joins',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([{ name: 't', partitions: 8 }])
      const one = await member(broker, { group: 'g', topics: ['t'] })
      await until(fixture, 'the first to have all', () => one.held().length === 8)
      const two = await member(await fixture.connect(), { group: 'g', topics: ['t'] })
      await until(fixture, 'both to share', () => share([one, two]))
      assert.deepEqual(
        one.told.map(({ what, partitions }) => [what, partitions.length]),
        [
          ['assigned', 8],
          ['revoked', 4],
        ],
      )
      assert.deepEqual(
        two.told.map(({ what }) => what).filter((what) => what !== 'assigned'),
        [],
      )
    },
  },
  {
    name: 'a member that leaves is asked for what it has first, and the others get it',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([{ name: 't', partitions: 8 }])
      const one = await member(broker, { group: 'g', topics: ['t'] })
      const two = await member(await fixture.connect(), { group: 'g', topics: ['t'] })
      await until(fixture, 'both to share', () => share([one, two]))
      await settled(fixture, one.membership.leave())
      assert.deepEqual([one.held(), one.told.at(-1)!.what], [[], 'revoked'])
      await settled(fixture, one.membership.leave())
      await until(fixture, 'the other to have all', () => two.held().length === 8)
      await rejects(one.membership.fetch(from('t', 1), { maxBytes: 1, maxWaitMs: 0 }), 'BROKER_CLOSED')
    },
  },
  {
    name: 'leaving ends a fetch that waits',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([{ name: 't', partitions: 8 }])
      const { membership } = await member(broker, { group: 'g', topics: ['t'] })
      const waiting = membership.fetch(from('t', 8), { maxBytes: 1, maxWaitMs: 60_000 })
      await fixture.elapse(20)
      await settled(fixture, membership.leave())
      assert.deepEqual(await settled(fixture, waiting), [])
    },
  },
  {
    name: 'the last member to leave and the next to join: everything is assigned again',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([{ name: 't', partitions: 8 }])
      for (let i = 0; i < 3; i++) {
        const one = await member(broker, { group: 'g', topics: ['t'] })
        await until(fixture, 'all to be assigned', () => one.held().length === 8)
        await settled(fixture, one.membership.leave())
      }
    },
  },
  {
    name: 'a member that falls silent loses its partitions to the others after its session time-out',
    async run(fixture) {
      const [silent, alive] = [await fixture.connect(), await fixture.connect()]
      await silent.topics([{ name: 't', partitions: 8 }])
      const one = await member(silent, { group: 'g', topics: ['t'], sessionTimeoutMs: 700 })
      const two = await member(alive, { group: 'g', topics: ['t'] })
      await until(fixture, 'both to share', () => share([one, two]))
      await silent.close()
      const told = one.told.length
      await fixture.elapse(200)
      assert.equal(two.held().length, 4)
      await until(fixture, 'the other to have all', () => two.held().length === 8)
      assert.equal(one.told.length, told)
    },
  },
  {
    name: 'a drain past its deadline is not waited for, and its member is told',
    async run(fixture) {
      const [slow, other] = [await fixture.connect(), await fixture.connect()]
      await slow.topics([{ name: 't', partitions: 8 }])
      let drained: () => void = () => undefined
      const drain = (): Promise<void> => new Promise((resolve) => (drained = resolve))
      const one = await member(slow, { group: 'g', topics: ['t'], drainTimeoutMs: 400, drain })
      await until(fixture, 'the first to have all', () => one.held().length === 8)
      const two = await member(other, { group: 'g', topics: ['t'] })
      await until(fixture, 'the other to have its part', () => two.held().length === 4)
      await until(fixture, 'the slow one to be told', () => one.told.some(({ what }) => what === 'lost'))
      assert.ok(share([one, two]))
      drained()
      await fixture.elapse(100)
      assert.ok(share([one, two]))
    },
  },
  {
    name: 'a listener that throws, or whose drain fails, does not stop the group',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([{ name: 't', partitions: 8 }])
      const fails = (): never => {
        throw new Error('the listener fails')
      }
      await broker.join({ group: 'g', topics: ['t'] }, { assigned: fails, revoked: fails, lost: fails, failed: fails })
      const two = await member(await fixture.connect(), { group: 'g', topics: ['t'] })
      await until(fixture, 'the other to have its part', () => two.held().length === 4)
    },
  },
  {
    name: 'members that name different topics get partitions of their own topics only',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([
        { name: 't', partitions: 2 },
        { name: 'u', partitions: 2 },
      ])
      const one = await member(broker, { group: 'g', topics: ['t'] })
      const two = await member(broker, { group: 'g', topics: ['t', 'u'] })
      await until(fixture, 'all to be assigned', () => share([one, two], ['t/0', 't/1', 'u/0', 'u/1']))
      assert.deepEqual(
        [one.held(), two.held()],
        [
          ['t/0', 't/1'],
          ['u/0', 'u/1'],
        ],
      )
    },
  },
  {
    name: 'joining for a topic that does not exist is refused, and so is a membership without a topic',
    async run({ connect }) {
      const broker = await connect()
      await rejects(member(broker, { group: 'g', topics: ['nowhere'] }), 'TOPIC_UNKNOWN')
      await rejects(member(broker, { group: 'g', topics: [] }), 'INPUT_INVALID')
    },
  },
  {
    name: 'members come and go, and in the end each partition has exactly one reader',
    async run(fixture) {
      const brokers = await Promise.all([fixture.connect(), fixture.connect(), fixture.connect(), fixture.connect()])
      await brokers[0].topics([{ name: 't', partitions: 8 }])
      const join = (i: number): Promise<Member> => member(brokers[i]!, { group: 'g', topics: ['t'] })
      const [a, b] = await Promise.all([join(0), join(1)])
      const c = await join(2)
      await Promise.all([settled(fixture, a.membership.leave()), join(3).then((d) => settled(fixture, d.membership.leave()))])
      const e = await join(0)
      await until(fixture, 'the three that are left to share', () => share([b, c, e]))
    },
  },
  {
    name: 'offsets that a group notes do not change what a fetch reads',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([{ name: 't', partitions: 2 }])
      const { membership, held } = await member(broker, { group: 'g', topics: ['t'] })
      await until(fixture, 'all to be assigned', () => held().length === 2)
      await membership.commit([])
      await membership.commit([
        { topic: 't', partition: 1, offset: 5 },
        { topic: 't', partition: 0, offset: 3 },
      ])
      await membership.commit([{ topic: 't', partition: 0, offset: 4 }])
      assert.deepEqual(await membership.fetch(from('t', 2), { maxBytes: 1, maxWaitMs: 0 }), [])
    },
  },
  {
    name: 'what a group noted can be asked for by anybody, also after its members have left; null where it noted nothing',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([
        { name: 't', partitions: 3 },
        { name: 'u', partitions: 2 },
      ])
      assert.deepEqual(await broker.committed('g', 't'), [null, null, null])
      const one = await member(broker, { group: 'g', topics: ['t'] })
      await until(fixture, 'all to be assigned', () => one.held().length === 3)
      await one.membership.commit([
        { topic: 't', partition: 2, offset: 5 },
        { topic: 't', partition: 0, offset: 3 },
      ])
      await one.membership.commit([{ topic: 't', partition: 0, offset: 0 }])
      await settled(fixture, one.membership.leave())
      const other = await fixture.connect()
      assert.deepEqual(await other.committed('g', 't'), [0, null, 5])
      assert.deepEqual(await other.committed('g', 'u'), [null, null])
      assert.deepEqual(await other.committed('another', 't'), [null, null, null])
      await rejects(other.committed('g', 'nowhere'), 'TOPIC_UNKNOWN')
    },
  },
]
