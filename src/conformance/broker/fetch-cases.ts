import assert from 'node:assert/strict'
import type { Case } from '../case.ts'
import { type BrokerFixture, from, readAll, reader, record, rejects, sender, settled, texts } from './fixture.ts'

/** How much a fetch brings, how long it waits, and what it says of places that are not there. */
export const fetchCases: readonly Case<BrokerFixture>[] = [
  {
    name: 'a fetch brings no more than its bytes, but one record in any case',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const { send } = await sender(broker, 't')
      for (let i = 0; i < 20; i++) await send(record('t', 0, Buffer.alloc(1_000, i)))
      const membership = await reader(broker, 't')
      const [some] = await membership.fetch(from('t', 1), { maxBytes: 5_500, maxWaitMs: 0 })
      assert.ok(some!.records.length >= 1 && some!.records.length <= 6, `${some!.records.length} records`)
      assert.ok(some!.nextOffset > some!.records.at(-1)!.offset)
      const [one] = await membership.fetch(from('t', 1), { maxBytes: 1, maxWaitMs: 0 })
      assert.equal(one!.records.length, 1)
    },
  },
  {
    name: 'no partition waits for ever behind a full one',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 4 }])
      const { send } = await sender(broker, 't')
      for (let i = 0; i < 8; i++) await send(...[0, 1, 2, 3].map((partition) => record('t', partition, Buffer.alloc(2_000))))
      const membership = await reader(broker, 't')
      const seen = new Set<number>()
      // Each fetch has room for one batch only, and the first partition always has more.
      for (let i = 0; i < 4; i++)
        for (const { partition } of await membership.fetch(from('t', 4), { maxBytes: 2_100, maxWaitMs: 0 })) seen.add(partition)
      assert.deepEqual([...seen].sort(), [0, 1, 2, 3])
    },
  },
  {
    name: 'a fetch of many partitions brings all that have something and leaves out the others',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([
        { name: 't', partitions: 40 },
        { name: 'u', partitions: 3 },
      ])
      const { send } = await sender(broker, 't')
      await send(...Array.from({ length: 20 }, (_, i) => record('t', i * 2, `${i * 2}`)), record('u', 1, 'u'))
      const found = await (await reader(broker, 't')).fetch([...from('t', 40), ...from('u', 3)], { maxBytes: 1e6, maxWaitMs: 0 })
      const places = found.filter(({ records }) => records.length > 0).map(({ topic, partition }) => `${topic}/${partition}`)
      assert.deepEqual(places.sort(), [...Array.from({ length: 20 }, (_, i) => `t/${i * 2}`), 'u/1'].sort())
      assert.ok(found.every(({ outOfRange }) => outOfRange === undefined))
    },
  },
  {
    name: 'a fetch in mid-batch begins exactly where it was asked',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      await (await sender(broker, 't')).send(...['a', 'b', 'c', 'd'].map((value) => record('t', 0, value)))
      const membership = await reader(broker, 't')
      const all = await readAll(membership, from('t', 1))
      assert.deepEqual(texts(await readAll(membership, from('t', 1, all[2]!.offset))), ['c', 'd'])
    },
  },
  {
    name: 'a fetch at the end waits its time and brings nothing',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const waiting = (await reader(broker, 't')).fetch(from('t', 1), { maxBytes: 1e6, maxWaitMs: 150 })
      let over = false
      void waiting.then(() => (over = true))
      await fixture.elapse(50)
      assert.equal(over, false)
      assert.deepEqual(await settled(fixture, waiting), [])
    },
  },
  {
    name: 'a fetch that waits is woken by an append, of this broker or another',
    async run(fixture) {
      const [broker, other] = [await fixture.connect(), await fixture.connect()]
      await broker.topics([{ name: 't', partitions: 2 }])
      const membership = await reader(broker, 't')
      for (const [i, source] of [broker, other].entries()) {
        const ends = (await broker.offsets('t', 'latest')).map((offset, partition) => ({ topic: 't', partition, offset }))
        const waiting = membership.fetch(ends, { maxBytes: 1e6, maxWaitMs: 60_000 })
        await fixture.elapse(40)
        await (await sender(source, 't', { source: `s${i}.1` })).send(record('t', 0, `${i}`), record('t', 1, `${i}`))
        assert.ok((await settled(fixture, waiting)).some(({ records }) => records.length > 0))
      }
    },
  },
  {
    name: 'a fetch that waits ends with nothing when it is aborted',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const membership = await reader(broker, 't')
      const stop = new AbortController()
      const waiting = membership.fetch(from('t', 1), { maxBytes: 1e6, maxWaitMs: 60_000, signal: stop.signal })
      await fixture.elapse(30)
      stop.abort()
      assert.deepEqual(await settled(fixture, waiting), [])
      assert.deepEqual(await membership.fetch(from('t', 1), { maxBytes: 1e6, maxWaitMs: 60_000, signal: stop.signal }), [])
    },
  },
  {
    name: 'the place past the end is in range, one beyond it and one before the first kept are not',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      await (await sender(broker, 't')).send(record('t', 0, 'a'))
      const membership = await reader(broker, 't')
      const [end] = await broker.offsets('t', 'latest')
      assert.deepEqual(await membership.fetch(from('t', 1, end!), { maxBytes: 1e6, maxWaitMs: 0 }), [])
      const [beyond] = await membership.fetch(from('t', 1, end! + 1), { maxBytes: 1e6, maxWaitMs: 60_000 })
      assert.deepEqual(beyond!.outOfRange, { startOffset: 0 })
      assert.deepEqual([beyond!.records, beyond!.endOffset], [[], end])
    },
  },
  {
    name: 'a reader that is no member reads, and closing it ends what waits',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      await (await sender(broker, 't')).send(record('t', 0, 'a'))
      const alone = broker.reader()
      const [found] = await alone.fetch(from('t', 1), { maxBytes: 1e6, maxWaitMs: 0 })
      assert.deepEqual(texts(found!.records), ['a'])
      const waiting = alone.fetch(from('t', 1, found!.nextOffset), { maxBytes: 1e6, maxWaitMs: 60_000 })
      await fixture.elapse(20)
      await alone.close()
      assert.deepEqual(await settled(fixture, waiting), [])
      await rejects(alone.fetch(from('t', 1), { maxBytes: 1e6, maxWaitMs: 0 }), 'BROKER_CLOSED')
      const other = broker.reader()
      await broker.close()
      await rejects(other.fetch(from('t', 1), { maxBytes: 1e6, maxWaitMs: 0 }), 'BROKER_CLOSED')
    },
  },
  {
    name: 'a partition out of range does not keep the others from being read',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 2 }])
      await (await sender(broker, 't')).send(record('t', 0, 'a'), record('t', 1, 'b'))
      const found = await (
        await reader(broker, 't')
      ).fetch(
        [
          { topic: 't', partition: 0, offset: 99 },
          { topic: 't', partition: 1, offset: 0 },
        ],
        { maxBytes: 1e6, maxWaitMs: 0 },
      )
      const byPartition = new Map(found.map((one) => [one.partition, one]))
      assert.ok(byPartition.get(0)?.outOfRange)
      assert.deepEqual(texts(byPartition.get(1)!.records), ['b'])
    },
  },
  {
    name: 'retention removes from the front: what is gone is out of range, what is left can be read, new offsets go on',
    needs: ['trim', 'settings'],
    async run(fixture) {
      const broker = await fixture.connect({ retentionMs: 300 })
      await broker.topics([{ name: 't', partitions: 1 }])
      const { send } = await sender(broker, 't')
      await send(record('t', 0, 'a'), record('t', 0, 'b'))
      await send(record('t', 0, 'c'))
      await fixture.elapse(400)
      await send(record('t', 0, 'd'))
      await fixture.trim!()
      const membership = await reader(broker, 't')
      const [start] = await broker.offsets('t', 'earliest')
      assert.equal(start, 3)
      const [gone] = await membership.fetch(from('t', 1, 1), { maxBytes: 1e6, maxWaitMs: 0 })
      assert.deepEqual(gone!.outOfRange, { startOffset: 3 })
      assert.deepEqual(texts(await readAll(membership, from('t', 1, start))), ['d'])
      await fixture.elapse(400)
      await fixture.trim!()
      assert.deepEqual(await broker.offsets('t', 'earliest'), [4])
      await send(record('t', 0, 'e'))
      assert.deepEqual(texts(await readAll(membership, from('t', 1, 4))), ['e'])
      assert.deepEqual((await sender(broker, 't', { epoch: 2 })).appender.last?.seq, 5)
    },
  },
  {
    name: 'a topic that does not exist, and a partition it does not have, are errors',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const membership = await reader(broker, 't')
      await rejects(membership.fetch(from('nowhere', 1), { maxBytes: 1, maxWaitMs: 0 }), 'TOPIC_UNKNOWN')
      await rejects(membership.fetch([{ topic: 't', partition: 5, offset: 0 }], { maxBytes: 1, maxWaitMs: 0 }), 'TOPIC_MISMATCH')
    },
  },
]
