import { beforeEach, describe, expect, test } from 'vitest'
import { memory, memoryBroker } from '../../src/drivers/memory/index.ts'
import { onMessage } from '../../src/consumer/index.ts'
import type { Broker, FetchPosition } from '../../src/message/index.ts'
import { service } from '../../src/service/index.ts'
import { until } from '../support/until.ts'
import {
  Counted,
  consumerDatabase,
  countEffect,
  countedRecord,
  memoryTopic,
  sequence,
  settled,
  settledAll,
} from './support/consumer-database.ts'

const { store, consume, effects, reset } = await consumerDatabase('first_read')

beforeEach(async () => {
  await reset()
})

/** What a program that is none of ours leaves at the broker: offsets of a group that has no members any more. */
async function commit(broker: Broker, group: string, offsets: readonly FetchPosition[]): Promise<void> {
  const silent = { assigned: () => undefined, revoked: async () => undefined, lost: () => undefined, failed: () => undefined }
  const topics = [...new Set(offsets.map(({ topic }) => topic))]
  const membership = await broker.join({ group, topics }, silent)
  await membership.commit(offsets)
  await membership.leave()
}

const at = (partition: number, offset: number, topic = Counted.topic): FetchPosition => ({ topic, partition, offset })
const inPartition = (partition: number, count: number) => sequence(count).map((n) => ({ ...countedRecord(`p${partition}`, n), partition }))
const positions = async () => (await store.positions('test')).map(({ partition, nextOffset }) => [partition, nextOffset]).sort()

describe('a group that adopts committed offsets', () => {
  test('begins where its namesake at the broker stands, and at the beginning where that committed nothing', async () => {
    const { broker, send } = await memoryTopic(3)
    await send([...inPartition(0, 5), ...inPartition(1, 5), ...inPartition(2, 5)])
    await commit(broker, 'test', [at(0, 3), at(1, 5)])
    await using consumer = consume(broker, [countEffect], { startFrom: 'committed' })
    await settledAll(consumer, broker)
    const handled = (await effects()).map(({ key, n }) => `${key} ${n}`)
    expect(handled.sort()).toEqual(['p0 3', 'p0 4', 'p2 0', 'p2 1', 'p2 2', 'p2 3', 'p2 4'])
  })

  test('takes those of a group of another name, and keeps its own positions from then on, whatever is committed there', async () => {
    const { broker, send } = await memoryTopic(1)
    await send(inPartition(0, 5))
    await commit(broker, 'loop', [at(0, 3)])
    const first = consume(broker, [countEffect], { startFrom: { committed: 'loop' } })
    await settledAll(first, broker)
    await first.stop()
    await commit(broker, 'loop', [at(0, 0)])
    await send(inPartition(0, 7).slice(5))
    await using second = consume(broker, [countEffect], { startFrom: { committed: 'loop' } })
    await settledAll(second, broker)
    expect((await effects()).map(({ n }) => n)).toEqual([3, 4, 5, 6])
  })

  test('stops where nothing was committed in the topic, and has adopted nothing anywhere', async () => {
    const { broker, send } = await memoryTopic(1)
    await broker.topics([{ name: 'other', partitions: 1 }])
    await send(inPartition(0, 5))
    await commit(broker, 'loop', [at(0, 3)])
    const other = onMessage({ ...Counted, type: 'Other', topic: 'other' }, () => undefined)
    const consumer = consume(broker, [countEffect, other], { startFrom: { committed: 'loop' } })
    await expect(consumer.done).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(
        'where the group "loop" has committed, and that has committed nothing in other. Look whether the name is right',
      ),
    })
    expect(await positions()).toEqual([])
  })

  test.each([
    ['below the first that is kept', 2],
    ['past the end', 9],
  ])('stops where the committed offset is %s, and has adopted nothing', async (_, offset) => {
    const broker = memoryBroker({ retentionBytes: 1_500 })
    await broker.topics([{ name: Counted.topic, partitions: 1 }])
    const appender = await broker.appender({ sourceEpoch: 'x.1', generation: 1, stream: 0, epoch: 1, topics: [Counted.topic] })
    for (const n of sequence(8)) await appender.append([countedRecord('a', n, { value: Buffer.alloc(400) })])
    await broker.trim()
    const [start] = await broker.offsets(Counted.topic, 'earliest')
    expect(start).toBeGreaterThan(2)
    await commit(broker, 'test', [at(0, offset)])
    const consumer = consume(broker, [countEffect], { startFrom: 'committed' })
    await expect(consumer.done).rejects.toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      message: expect.stringMatching(
        `committed offset ${offset} of ${Counted.topic}-0, but the log holds only ${start} to 8.*reset that group's offsets`,
      ),
    })
    expect(await positions()).toEqual([])
  })

  test('is refused a name that says nothing', async () => {
    const { broker } = await memoryTopic(1)
    expect(() => consume(broker, [countEffect], { startFrom: { committed: '' } })).toThrow("{ committed: 'name of a group' }")
  })

  test('may be a service whose events each say so', async () => {
    const broker = memoryBroker()
    await broker.topics([{ name: Counted.topic, partitions: 1 }])
    await commit(broker, 'loop', [at(0, 0)])
    const shop = service('shop', { database: memory(), broker })
    const handle = (): void => undefined
    shop.consume(Counted, { startFrom: { committed: 'loop' } }, handle)
    shop.consume({ ...Counted, type: 'Recounted' }, { startFrom: { committed: 'loop' } }, handle)
    await shop.start()
    await shop.stop()
  })
})

describe('a topic that gets more partitions', () => {
  /** Two partitions handled to their ends, and then four of them, each with a new message. */
  async function grown() {
    const { broker, send } = await memoryTopic(2)
    await send([...inPartition(0, 2), ...inPartition(1, 2)])
    const before = consume(broker, [countEffect])
    await settledAll(before, broker)
    return { broker, send, before, grow: () => broker.addPartitions(Counted.topic, 4) }
  }

  const mismatch = {
    code: 'TOPIC_MISMATCH',
    message: expect.stringMatching(/has 4 partitions now, and group "test" has positions in 2\..*addedPartitions: 'wait'/),
  }

  test('stops a consumer that starts, before it has handled anything', async () => {
    const { broker, send, before, grow } = await grown()
    await before.stop()
    await grow()
    await send(inPartition(0, 3).slice(2))
    await expect(consume(broker, [countEffect]).done).rejects.toMatchObject(mismatch)
    expect((await effects()).length).toBe(4)
    expect(await positions()).toEqual([
      [0, 2],
      [1, 2],
    ])
  })

  test('stops a consumer that runs', async () => {
    const { before, grow } = await grown()
    await grow()
    await expect(before.done).rejects.toMatchObject(mismatch)
    expect((await positions()).length).toBe(2)
  })

  test('stops a consumer that runs on another process of its group which was given an old partition only', async () => {
    const { broker, before, grow } = await grown()
    const other = consume(broker, [countEffect])
    await until('both to have one', () => [before, other].every((one) => one.status().partitions.length === 1))
    await grow()
    await expect(before.done).rejects.toMatchObject(mismatch)
    await expect(other.done).rejects.toMatchObject(mismatch)
  })

  test('is handled in its old partitions only while they are to be brought to their ends', async () => {
    const { broker, send, before, grow } = await grown()
    await before.stop()
    await grow()
    await send([0, 1, 2, 3].flatMap((partition) => inPartition(partition, 3).slice(2)))
    const draining = consume(broker, [countEffect], { addedPartitions: 'wait' })
    await settled(draining, [3, 3])
    await until('it says that it waits', () => draining.status().trouble?.includes("addedPartitions is 'wait'") === true)
    expect((await effects()).map(({ key }) => key)).not.toContain('p2')
    await draining.stop()
    expect((await positions()).length).toBe(2)
    await using reading = consume(broker, [countEffect], { addedPartitions: 'read' })
    await settledAll(reading, broker)
    expect(
      (await effects())
        .map(({ key }) => key)
        .filter((key) => key === 'p2' || key === 'p3')
        .sort(),
    ).toEqual(['p2', 'p3'])
  })

  test('goes on without a pause where the order of keys does not matter, the new partitions from their beginning on', async () => {
    const { broker, send, before, grow } = await grown()
    await before.stop()
    await using reading = consume(broker, [countEffect], { addedPartitions: 'read', startFrom: 'latest' })
    await settledAll(reading, broker)
    await grow()
    await send(inPartition(3, 2))
    await settledAll(reading, broker)
    expect((await effects()).map(({ key, n }) => `${key} ${n}`)).toContain('p3 0')
  })

  test('does not ask again for offsets that were adopted, which may be gone by now', async () => {
    const { broker, send } = await memoryTopic(1)
    await send(inPartition(0, 2))
    await commit(broker, 'loop', [at(0, 1)])
    const first = consume(broker, [countEffect], { startFrom: { committed: 'loop' } })
    await settledAll(first, broker)
    await first.stop()
    await broker.addPartitions(Counted.topic, 2)
    const forgetful: Broker = {
      traits: broker.traits,
      topics: (specs) => broker.topics(specs),
      appender: (claim) => broker.appender(claim),
      join: (options, listener) => broker.join(options, listener),
      reader: () => broker.reader(),
      offsets: (topic, place) => broker.offsets(topic, place),
      committed: async () => [null, null],
      close: () => broker.close(),
    }
    await using second = consume(forgetful, [countEffect], { startFrom: { committed: 'loop' }, addedPartitions: 'read' })
    await settledAll(second, broker)
    expect(await positions()).toEqual([
      [0, 2],
      [1, 0],
    ])
  })
})
