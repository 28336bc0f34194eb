import assert from 'node:assert/strict'
import type { Header } from '../../message/port.ts'
import type { Case } from '../case.ts'
import { type BrokerFixture, from, readAll, reader, record, rejects, sender, settled, texts } from './fixture.ts'

/** What is written, and what is read back. */
export const logCases: readonly Case<BrokerFixture>[] = [
  {
    name: 'records of a partition are read in the order they were appended, over many pages',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 3 }])
      const { send } = await sender(broker, 't')
      for (let page = 0; page < 20; page++) {
        await send(...Array.from({ length: 15 }, (_, i) => record('t', i % 3, `${page * 15 + i}`)))
      }
      const records = await readAll(await reader(broker, 't'), from('t', 3), 500)
      assert.equal(records.length, 300)
      for (const partition of [0, 1, 2]) {
        const numbers = records.filter((one) => one.partition === partition).map(({ value }) => Number(value))
        assert.deepEqual(
          numbers,
          Array.from({ length: 100 }, (_, i) => i * 3 + partition),
        )
      }
    },
  },
  {
    name: 'offsets rise strictly within a partition, and nextOffset is past the last record',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const { send } = await sender(broker, 't')
      await send(record('t', 0, 'a'), record('t', 0, 'b'))
      await send(record('t', 0, 'c'))
      const [found] = await (await reader(broker, 't')).fetch(from('t', 1), { maxBytes: 1e6, maxWaitMs: 0 })
      const offsets = found!.records.map(({ offset }) => offset)
      assert.deepEqual(
        offsets,
        [...new Set(offsets)].sort((a, b) => a - b),
      )
      assert.ok(found!.nextOffset > offsets.at(-1)!)
      assert.equal(found!.endOffset, found!.nextOffset)
    },
  },
  {
    name: 'offsets have no holes',
    needs: ['denseOffsets'],
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 2 }])
      const one = await sender(broker, 't', { source: 'one.1' })
      const two = await sender(broker, 't', { source: 'two.1' })
      await one.send(record('t', 0, 'a'), record('t', 1, 'b'), record('t', 0, 'c'))
      await two.send(record('t', 0, 'd'))
      const records = await readAll(await reader(broker, 't'), from('t', 2))
      const offsets = (partition: number): number[] => records.filter((r) => r.partition === partition).map(({ offset }) => offset)
      assert.deepEqual([offsets(0), offsets(1)], [[0, 1, 2], [0]])
    },
  },
  {
    name: 'appenders of different streams write to the same partitions at once, and each keeps its order',
    async run({ connect }) {
      const brokers = await Promise.all([connect(), connect(), connect()])
      await brokers[0].topics([{ name: 't', partitions: 2 }])
      await Promise.all(
        brokers.map(async (broker, source) => {
          const { send } = await sender(broker, 't', { source: `s${source}.1` })
          for (let page = 0; page < 15; page++) {
            await send(...[0, 1, 0, 1].map((partition, i) => record('t', partition, `${source}:${page * 4 + i}`)))
          }
        }),
      )
      const records = await readAll(await reader(brokers[0], 't'), from('t', 2))
      assert.equal(records.length, 3 * 60)
      for (const partition of [0, 1]) {
        for (const source of [0, 1, 2]) {
          const mine = records.filter((r) => r.partition === partition).map(({ value }) => String(value).split(':').map(Number))
          const numbers = mine.filter(([from]) => from === source).map(([, number]) => number!)
          assert.deepEqual(
            numbers,
            numbers.toSorted((a, b) => a - b),
          )
          assert.equal(numbers.length, 30)
        }
      }
    },
  },
  {
    name: 'headers come back as they were: repeated names, null, empty, unicode, and bytes that are not text',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const bytes = Buffer.from([0, 1, 127, 128, 200, 255])
      const headers: Header[] = [
        ['a', 'first'],
        ['b', null],
        ['a', 'second'],
        ['größe', '✓ 😀'],
        ['bytes', bytes],
        ['empty', ''],
        ['', 'no name'],
      ]
      await (
        await sender(broker, 't', { header: false })
      ).send(record('t', 0, 'x', { headers }), record('t', 0, 'y', { headers: [['a', 'third']] }), record('t', 0, 'z'))
      const records = await readAll(await reader(broker, 't'), from('t', 1))
      const inBytes = (list: readonly Header[]): unknown[] =>
        list.map(([name, value]) => [name, value === null ? null : Buffer.from(value).toString('hex')])
      assert.deepEqual(inBytes(records[0]!.headers), inBytes(headers))
      assert.deepEqual(inBytes(records[1]!.headers), inBytes([['a', 'third']]))
      assert.deepEqual(records[2]!.headers, [])
    },
  },
  {
    name: 'keys and values come back as they were: null, empty, and every byte',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
      const large = Buffer.alloc(100_000, 'ü')
      const pairs: [Buffer | null, Buffer | null][] = [
        [null, null],
        [Buffer.alloc(0), Buffer.alloc(0)],
        [all, all],
        [null, large],
        [large, null],
      ]
      await (await sender(broker, 't')).send(...pairs.map(([key, value]) => record('t', 0, value, { key })))
      const records = await readAll(await reader(broker, 't'), from('t', 1))
      assert.deepEqual(
        records.map(({ key, value }) => [key?.toString('hex'), value?.toString('hex')]),
        pairs.map(([key, value]) => [key?.toString('hex'), value?.toString('hex')]),
      )
    },
  },
  {
    name: 'a buffer used again after append does not change what is in the log',
    async run({ connect }) {
      const broker = await connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const value = Buffer.from('before')
      await (await sender(broker, 't')).send(record('t', 0, value))
      value.write('after!')
      assert.deepEqual(texts(await readAll(await reader(broker, 't'), from('t', 1))), ['before'])
    },
  },
  {
    name: 'what a broker appended is read by another one',
    async run({ connect }) {
      const [writing, reading] = [await connect(), await connect()]
      await writing.topics([{ name: 't', partitions: 1 }])
      const membership = await reader(reading, 't')
      await (await sender(writing, 't')).send(record('t', 0, 'x'))
      assert.deepEqual(texts(await readAll(membership, from('t', 1))), ['x'])
    },
  },
  {
    name: 'timestamps say when the log took a record, and never go back within a partition',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const { send } = await sender(broker, 't')
      for (const value of ['a', 'b', 'c']) {
        await send(record('t', 0, value))
        await fixture.elapse(20)
      }
      const times = (await readAll(await reader(broker, 't'), from('t', 1))).map(({ timestamp }) => timestamp)
      assert.deepEqual(
        times,
        times.toSorted((a, b) => a - b),
      )
      assert.ok(times[2]! - times[0]! >= 20)
    },
  },
  {
    name: 'after close every call rejects, a waiting fetch resolves with nothing, and a second close does nothing',
    async run(fixture) {
      const broker = await fixture.connect()
      await broker.topics([{ name: 't', partitions: 1 }])
      const membership = await reader(broker, 't')
      const { send } = await sender(broker, 't')
      const waiting = membership.fetch(from('t', 1), { maxBytes: 1, maxWaitMs: 60_000 })
      await fixture.elapse(20)
      await broker.close()
      assert.deepEqual(await settled(fixture, waiting), [])
      await broker.close()
      await rejects(broker.topics([{ name: 't' }]), 'BROKER_CLOSED')
      await rejects(send(record('t', 0, 'x')), 'BROKER_CLOSED')
      await rejects(membership.fetch(from('t', 1), { maxBytes: 1, maxWaitMs: 0 }), 'BROKER_CLOSED')
    },
  },
]
