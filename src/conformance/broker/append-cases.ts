import assert from 'node:assert/strict'
import type { Case } from '../case.ts'
import { type BrokerFixture, coordinate, from, readAll, reader, record, rejects, sender, texts, withHeader } from './fixture.ts'

/** Who may append, what is refused, and what a repeated page does. */
export const appendCases: readonly Case<BrokerFixture>[] = [
  {
    name: 'an older epoch of a stream appends no more once a newer one was claimed',
    needs: ['fencesAppends'],
    async run({ connect }) {
      const [old, young] = [await connect(), await connect()]
      await old.topics([{ name: 't', partitions: 1 }])
      const before = await sender(old, 't', { epoch: 1 })
      await before.send(record('t', 0, 'old'))
      const after = await sender(young, 't', { epoch: 2, tick: 2 })
      await rejects(before.send(record('t', 0, 'too late')), 'BROKER_FENCED')
      await after.send(record('t', 0, 'young'))
      await rejects(before.sendAgain(), 'BROKER_FENCED')
      assert.deepEqual(texts(await readAll(await reader(young, 't'), from('t', 1))), ['old', 'young'])
    },
  },
  {
    name: 'a claim below the present epoch is rejected, and says what the stream sent last',
    needs: ['fencesAppends'],
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      await (await sender(broker, 't', { epoch: 5, tick: 7 })).send(record('t', 0, 'x'))
      const error = await rejects(sender(broker, 't', { epoch: 4 }), 'BROKER_FENCED')
      assert.equal(error.details.last, 'source.1/1/0/7/1')
    },
  },
  {
    name: 'the same claim again is fine, and streams do not fence each other',
    needs: ['fencesAppends'],
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      await sender(broker, 't', { epoch: 3 })
      const again = await sender(broker, 't', { epoch: 3 })
      const other = await sender(broker, 't', { epoch: 9, stream: 1 })
      const foreign = await sender(broker, 't', { epoch: 1, source: 'other.1' })
      for (const { send } of [again, other, foreign]) await send(record('t', 0, 'x'))
      assert.equal((await readAll(await reader(broker, 't'), from('t', 1))).length, 3)
    },
  },
  {
    name: 'a later life of a source supersedes every epoch of the earlier one',
    needs: ['fencesAppends'],
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const before = await sender(broker, 't', { source: 'source.1', epoch: 9 })
      await before.send(record('t', 0, 'before'))
      const rebased = await sender(broker, 't', { source: 'source.2', epoch: 1 })
      assert.deepEqual(rebased.appender.last, coordinate('source.1', 0, 1, 1))
      await rejects(before.send(record('t', 0, 'late')), 'BROKER_FENCED')
      await rebased.send(record('t', 0, 'after'))
      assert.deepEqual(texts(await readAll(await reader(broker, 't'), from('t', 1))), ['before', 'after'])
    },
  },
  {
    name: "a new appender finds the stream's last coordinate, and none where nothing was sent",
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 2 }])
      const first = await sender(broker, 't', { epoch: 1, tick: 4 })
      assert.equal(first.appender.last, null)
      await first.send(record('t', 0, 'a'), record('t', 1, 'b'), record('t', 0, 'c'))
      await first.appender.close()
      const other = await connect()
      const second = await sender(other, 't', { epoch: 2 })
      assert.deepEqual(second.appender.last, coordinate('source.1', 0, 4, 3))
      assert.equal((await sender(other, 't', { stream: 1 })).appender.last, null)
    },
  },
  {
    name: 'a page sent again is not appended again, not even in part',
    needs: ['skipsRepeats'],
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 2 }])
      const first = await sender(broker, 't', { epoch: 1 })
      await first.send(record('t', 0, 'a'), record('t', 1, 'b'))
      await first.sendAgain()
      // Its successor does not know how far it came, and cuts the pages differently.
      const next = await connect()
      const second = await next.appender({ sourceEpoch: 'source.1', generation: 1, stream: 0, epoch: 2, topics: ['t'] })
      const page = ['b', 'c', 'd'].map((value, i) =>
        withHeader({ ...record('t', 1, value), coordinate: coordinate('source.1', 0, 1, i + 2) }),
      )
      await second.append(page)
      await second.append(page)
      assert.deepEqual(texts(await readAll(await reader(broker, 't'), from('t', 2))).sort(), ['a', 'b', 'c', 'd'])
    },
  },
  {
    name: 'records without a coordinate are appended every time',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const { appender } = await sender(broker, 't')
      const page = [{ ...record('t', 0, 'x'), coordinate: null }]
      await appender.append(page)
      await appender.append(page)
      assert.equal((await readAll(await reader(broker, 't'), from('t', 1))).length, 2)
    },
  },
  {
    name: 'a record that is too large is refused by its place in the page, and all others are appended',
    needs: ['settings'],
    async run({ connect }) {
      const broker = await connect({ maxRecordBytes: 1_000 })
      await broker.topics([{ name: 't', partitions: 1 }])
      const { send } = await sender(broker, 't', { header: false })
      const tooLarge = record('t', 0, Buffer.alloc(900), { headers: [['h', 'x'.repeat(200)]] })
      const refusals = await send(
        record('t', 0, 'a'),
        tooLarge,
        record('t', 0, 'b'),
        record('t', 0, Buffer.alloc(1_001)),
        record('t', 0, Buffer.alloc(1_000, 'c')),
      )
      assert.deepEqual(
        refusals.map(({ index }) => index),
        [1, 3],
      )
      assert.ok(refusals.every(({ reason }) => reason.includes('1000')))
      const values = texts(await readAll(await reader(broker, 't'), from('t', 1)))
      assert.deepEqual([values.length, values[0], values[1], values[2]?.length], [3, 'a', 'b', 1_000])
      assert.equal((await send(tooLarge)).length, 1)
    },
  },
  {
    name: 'what follows a refused record of its key in the page is refused with it, so that the key keeps its order',
    needs: ['settings'],
    async run({ connect }) {
      const broker = await connect({ maxRecordBytes: 1_000 })
      await broker.topics([{ name: 't', partitions: 1 }])
      const { send } = await sender(broker, 't', { header: false })
      const of = (key: string, value: string | Buffer): ReturnType<typeof record> => record('t', 0, value, { key: Buffer.from(key) })
      const refusals = await send(of('k', 'a'), of('k', Buffer.alloc(1_000)), of('k', 'b'), of('other', 'c'))
      assert.deepEqual(
        refusals.map(({ index }) => index),
        [1, 2],
      )
      assert.deepEqual(texts(await readAll(await reader(broker, 't'), from('t', 1))), ['a', 'c'])
    },
  },
  {
    name: 'a record of the size in the traits is taken',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const size = broker.traits.maxRecordBytes
      const { send } = await sender(broker, 't', { header: false })
      const refusals = await send(record('t', 0, Buffer.alloc(size)), record('t', 0, Buffer.alloc(size + 1)))
      assert.deepEqual(
        refusals.map(({ index }) => index),
        [1],
      )
      const records = await readAll(await reader(broker, 't'), from('t', 1))
      assert.equal(records[0]!.value!.length, size)
    },
  },
  {
    name: 'an empty page is fine',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      assert.deepEqual(await (await sender(broker, 't')).send(), [])
    },
  },
  {
    name: 'a page with an unknown topic or partition is rejected as a whole',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 2 }])
      const { send } = await sender(broker, 't')
      await rejects(send(record('t', 0, 'x'), record('nowhere', 0, 'x')), 'TOPIC_UNKNOWN')
      await rejects(send(record('t', 0, 'x'), record('t', 2, 'x')), 'TOPIC_MISMATCH')
      assert.deepEqual(await readAll(await reader(broker, 't'), from('t', 2)), [])
    },
  },
  {
    name: 'a second page before the first has settled is rejected, and so are coordinates that do not rise or are of another stream',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const { appender, send } = await sender(broker, 't')
      const first = send(record('t', 0, 'a'))
      await rejects(send(record('t', 0, 'b')), 'INPUT_INVALID')
      await first
      const at = (tick: number, seq: number, stream = 0) => ({
        ...record('t', 0, 'c'),
        coordinate: coordinate('source.1', stream, tick, seq),
      })
      await rejects(appender.append([at(3, 2), at(3, 1)]), 'INPUT_INVALID')
      await rejects(appender.append([at(3, 1, 7)]), 'INPUT_INVALID')
      assert.deepEqual(texts(await readAll(await reader(broker, 't'), from('t', 1))), ['a'])
    },
  },
]
