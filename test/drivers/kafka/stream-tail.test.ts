import { expect, test } from 'vitest'
import { memoryBroker } from 'tidemark/memory'
import { readStreamTail } from '../../../src/drivers/kafka/produce/stream-tail.ts'
import { type Coordinate, formatCoordinate } from '../../../src/message/coordinate.ts'
import type { SequencedRecord, StreamClaim } from '../../../src/message/port.ts'

// Where a stream stands in the log is found by reading; any log will do for that.
const broker = memoryBroker()
const claim: StreamClaim = { sourceEpoch: 'mine.1', generation: 1, stream: 0, epoch: 1, topics: [] }
let topics = 0
let topic = ''

async function newTopic(partitions: number): Promise<void> {
  topics += 1
  topic = `t${topics}`
  await broker.topics([{ name: topic, partitions }])
}

/** So many messages of a source in one partition, all of one tick. */
async function write(sourceEpoch: string, partition: number, tick: number, count: number, firstSeq = 1): Promise<Coordinate[]> {
  const appender = await broker.appender({ ...claim, sourceEpoch, stream: topics * 100 + partition, topics: [topic] })
  const coordinates = Array.from({ length: count }, (_, i) => ({ sourceEpoch, generation: 1, stream: 0, tick, seq: firstSeq + i }))
  const page = coordinates.map((coordinate): SequencedRecord => ({
    topic,
    partition,
    key: null,
    value: null,
    headers: [['tidemark-coordinate', formatCoordinate(coordinate)]],
    coordinate: null,
  }))
  await appender.append(page)
  await appender.close()
  return coordinates
}

async function tail() {
  const reader = broker.reader()
  const bounds = async (name: string) => {
    const ends = await broker.offsets(name, 'latest')
    return ends.map((end) => ({ start: 0, end }))
  }
  try {
    return await readStreamTail(reader, { ...claim, topics: [topic] }, bounds)
  } finally {
    await reader.close()
  }
}

const texts = (coordinates: readonly Coordinate[]): string[] => coordinates.map(formatCoordinate).sort()

test('a stream that never sent has no tail', async () => {
  await newTopic(2)
  await write('other.1', 0, 5, 20)
  expect(await tail()).toEqual({ last: null, sent: new Set() })
})

test('a first tick larger than the first look is found whole', async () => {
  await newTopic(1)
  const sent = await write('mine.1', 0, 1, 3_000)
  const found = await tail()
  expect(found.last).toEqual(sent.at(-1))
  expect([...found.sent].sort()).toEqual(texts(sent))
})

test("what others' messages hide in one partition is found, though another partition shows enough at once", async () => {
  await newTopic(2)
  await write('mine.1', 1, 1, 5)
  const first = await write('mine.1', 0, 7, 10, 100)
  await write('other.1', 0, 9, 4_000)
  const second = await write('mine.1', 1, 7, 10, 200)
  const found = await tail()
  expect(found.last).toEqual(second.at(-1))
  expect([...found.sent].sort()).toEqual(texts([...first, ...second]))
})

test('ticks before the last two are not kept', async () => {
  await newTopic(1)
  await write('mine.1', 0, 1, 30)
  const recent = [...(await write('mine.1', 0, 2, 3, 40)), ...(await write('mine.1', 0, 3, 3, 50))]
  expect([...(await tail()).sent].sort()).toEqual(texts(recent))
})

test('an earlier life of the source tells of itself, but nothing of it is a repeat', async () => {
  await newTopic(1)
  const sent = await write('mine.0', 0, 9, 3)
  expect(await tail()).toEqual({ last: sent.at(-1), sent: new Set() })
})
