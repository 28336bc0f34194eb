import assert from 'node:assert/strict'
import type { Case } from '../case.ts'
import { type BrokerFixture, from, member, readAll, reader, record, rejects, sender, settled, texts, until } from './fixture.ts'

/** Making and describing topics, and finding places in them. */
export const topicCases: readonly Case<BrokerFixture>[] = [
  {
    name: 'topics are made once by two brokers at once, and described in the order asked for',
    async run({ connect }) {
      const brokers = await Promise.all([connect(), connect(), connect()])
      const names = ['c', 'a', 'b']
      const all = await Promise.all(
        brokers.map((broker, i) => broker.topics((i === 1 ? names.toReversed() : names).map((name) => ({ name, partitions: 3 })))),
      )
      assert.deepEqual(
        all[0]!.map(({ name, partitions }) => `${name}${partitions}`),
        ['c3', 'a3', 'b3'],
      )
      assert.deepEqual(all[1]!.toReversed(), all[0])
      assert.deepEqual(all[2], all[0])
      assert.equal(new Set(all[0]!.map(({ id }) => id)).size, 3)
    },
  },
  {
    name: 'a broker that knows how long topics keep their records says so, and leaves out those that do not exist',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1, retentionMs: 86_400_000 }])
      const kept = await broker.retention?.(['t', 'nobody-made-this'])
      if (kept !== undefined) assert.deepEqual([...kept], [['t', 86_400_000]])
    },
  },
  {
    name: 'a topic that exists is described as it is, not changed',
    async run({ connect }) {
      const broker = await connect()
      const [made] = await broker.topics([{ name: 't', partitions: 3 }])
      const [again] = await broker.topics([{ name: 't', partitions: 12 }])
      const { differs, ...same } = again!
      assert.deepEqual(same, made)
      assert.ok(
        differs?.some((difference) => difference.includes('12')),
        `${differs?.join()} does not say that 12 partitions were expected`,
      )
      assert.equal((await broker.offsets('t', 'latest')).length, 3)
    },
  },
  {
    name: 'a topic without a number of partitions gets the default',
    async run({ connect }) {
      const broker = await connect({ defaultPartitions: 5 })
      const [topic] = await broker.topics([{ name: 't' }])
      assert.equal(topic!.partitions, 5)
    },
  },
  {
    name: 'names and numbers that not every broker takes are refused',
    async run({ connect }) {
      const broker = await connect()
      for (const spec of [
        { name: '' },
        { name: 'with space' },
        { name: '..' },
        { name: 'x'.repeat(250) },
        { name: 't', partitions: 0 },
        { name: 't', partitions: 1.5 },
      ]) {
        await rejects(broker.topics([spec]), 'INPUT_INVALID')
      }
    },
  },
  {
    name: 'a topic made anew has another id, is empty, and is not read under the old one',
    needs: ['deleteTopic'],
    async run(fixture) {
      const broker = await fixture.connect()
      const [old] = await broker.topics([{ name: 't', partitions: 2 }])
      const { send } = await sender(broker, 't')
      await send(record('t', 0, 'old'))
      const { membership, held } = await member(broker, { group: 'g', topics: ['t'] })
      await fixture.deleteTopic!('t')
      const other = await fixture.connect()
      const [young] = await other.topics([{ name: 't', partitions: 2 }])
      assert.notEqual(young!.id, old!.id)
      await rejects(
        membership.fetch([{ topic: 't', topicId: old!.id, partition: 0, offset: 1 }], { maxBytes: 1, maxWaitMs: 100 }),
        'TOPIC_MISMATCH',
      )
      await send(record('t', 0, 'young'))
      assert.deepEqual(texts(await readAll(membership, [{ topic: 't', topicId: young!.id, partition: 0, offset: 0 }])), ['young'])
      await until(fixture, 'the new partitions to be assigned', () => held().length === 2)
    },
  },
  {
    name: 'members lose the partitions of a topic that is deleted',
    needs: ['deleteTopic'],
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([
        { name: 't', partitions: 2 },
        { name: 'u', partitions: 1 },
      ])
      const { held, told } = await member(broker, { group: 'g', topics: ['t', 'u'] })
      await until(fixture, 'all to be assigned', () => held().length === 3)
      await fixture.deleteTopic!('t')
      await until(fixture, 'the loss to be told', () => told.some(({ what }) => what === 'lost'))
      assert.deepEqual(held(), ['u/0'])
    },
  },
  {
    name: 'offsets that a group noted in a topic are not those of the topic made anew',
    needs: ['deleteTopic'],
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const { membership, held } = await member(broker, { group: 'g', topics: ['t'] })
      await until(fixture, 'the partition to be assigned', () => held().length === 1)
      await membership.commit([{ topic: 't', partition: 0, offset: 7 }])
      await settled(fixture, membership.leave())
      await fixture.deleteTopic!('t')
      await broker.topics([{ name: 't', partitions: 1 }])
      // Kafka forgets them a moment after the topic itself.
      await until(fixture, 'the offsets of the old topic to be gone', async () => (await broker.committed('g', 't'))[0] === null)
    },
  },
  {
    name: 'a topic that gets more partitions is the same topic, and its members are assigned them',
    needs: ['addPartitions'],
    async run(fixture) {
      const broker = await fixture.connect()
      const [before] = await broker.topics([{ name: 't', partitions: 2 }])
      const { membership, held } = await member(broker, { group: 'g', topics: ['t'] })
      await until(fixture, 'the first to be assigned', () => held().length === 2)
      await fixture.addPartitions!('t', 4)
      const other = await fixture.connect()
      assert.deepEqual(await other.topics([{ name: 't' }]), [{ ...before, partitions: 4 }])
      await until(fixture, 'the others to be assigned', () => held().length === 4)
      await (await sender(other, 't')).send(record('t', 3, 'a'))
      assert.deepEqual(texts(await readAll(membership, from('t', 4))), ['a'])
      assert.equal((await other.offsets('t', 'earliest')).length, 4)
      assert.equal((await other.committed('g', 't')).length, 4)
    },
  },
  {
    name: 'offsets by place: the first kept and the one after the last, of each partition',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 3 }])
      await (await sender(broker, 't')).send(record('t', 0, 'a'), record('t', 2, 'b'), record('t', 2, 'c'))
      const latest = await broker.offsets('t', 'latest')
      assert.deepEqual(await broker.offsets('t', 'earliest'), [0, 0, 0])
      const records = await readAll(await reader(broker, 't'), from('t', 3))
      assert.equal(latest[1], 0)
      for (const partition of [0, 2]) {
        const last = records.findLast((one) => one.partition === partition)!
        assert.ok(latest[partition]! > last.offset)
        const after = { topic: 't', partition, offset: latest[partition]! }
        assert.deepEqual(await (await reader(broker, 't')).fetch([after], { maxBytes: 1e6, maxWaitMs: 0 }), [])
      }
      await rejects(broker.offsets('nowhere', 'latest'), 'TOPIC_UNKNOWN')
    },
  },
  {
    name: 'offsets by time: before all, between, at, and after all records',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([{ name: 't', partitions: 2 }])
      const { send } = await sender(broker, 't')
      for (const value of ['a', 'b', 'c']) {
        await send(record('t', 0, value), record('t', 0, `${value}2`))
        await fixture.elapse(30)
      }
      const records = await readAll(await reader(broker, 't'), from('t', 2))
      const [a, , b, , c] = records
      // An offset without a record, such as Kafka's mark of a transaction's end, is as good as the next one with a record.
      const next = (offset: number): number => records.find((one) => one.offset >= offset)?.offset ?? offset
      const at = async (ms: number): Promise<number> => next((await broker.offsets('t', new Date(ms)))[0]!)
      const end = (await broker.offsets('t', 'latest'))[0]!
      assert.equal(await at(a!.timestamp - 1_000), a!.offset)
      assert.equal(await at(a!.timestamp), a!.offset)
      assert.equal(await at(a!.timestamp + 1), b!.offset)
      assert.equal(await at(b!.timestamp), b!.offset)
      assert.equal(await at(b!.timestamp + 1), c!.offset)
      assert.equal(await at(c!.timestamp + 1_000_000), end)
      assert.deepEqual((await broker.offsets('t', new Date(c!.timestamp))).map(next), [c!.offset, next(0)])
    },
  },
]
