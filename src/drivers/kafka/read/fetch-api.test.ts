import { Reader, Writer } from '@platformatic/kafka'
import { expect, test } from 'vitest'
import { createFetchRequest, parseFetchReply } from './fetch-api.ts'

const topicId = '11111111-2222-4333-8444-555555555555'

/** A reply with partitions 0 and 1, of which the first has these tagged fields. */
function reply(tagged: readonly (readonly [tag: number, content: Buffer])[]): Reader {
  const writer = Writer.create().appendInt32(0).appendInt16(0).appendInt32(0)
  writer.appendUnsignedVarInt(2).appendUUID(topicId).appendUnsignedVarInt(3)
  for (const partition of [0, 1]) {
    writer.appendInt32(partition).appendInt16(0).appendInt64(150n).appendInt64(150n).appendInt64(0n)
    writer.appendUnsignedVarInt(0).appendInt32(-1).appendUnsignedVarInt(1)
    const mine = partition === 0 ? tagged : []
    writer.appendUnsignedVarInt(mine.length)
    for (const [tag, content] of mine) writer.appendUnsignedVarInt(tag).appendUnsignedVarInt(content.length).append(content)
  }
  // Those of the topic, then those of the reply.
  writer.appendUnsignedVarInt(0).appendUnsignedVarInt(0)
  return Reader.from(writer.buffer)
}

/** Epoch and end offset, and the empty tagged fields of the structure. */
function epochEnd(epoch: number, endOffset: number): Buffer {
  const bytes = Buffer.alloc(13)
  bytes.writeInt32BE(epoch, 0)
  bytes.writeBigInt64BE(BigInt(endOffset), 4)
  return bytes
}

test('a reply says where the log left what was fetched, and what follows it is still read', () => {
  const { partitions } = parseFetchReply(0, 1, 13, reply([[0, epochEnd(4, 60)]]))
  expect(partitions).toMatchObject([
    { topicId, partition: 0, highWatermark: 150, records: null, diverging: { leaderEpoch: 4, endOffset: 60 } },
    { partition: 1, diverging: null },
  ])
})

test('other tagged fields are passed over', () => {
  const other = [1, Buffer.alloc(9, 0xff)] as const
  const { partitions } = parseFetchReply(0, 1, 13, reply([[0, epochEnd(4, 60)], other, [2, Buffer.alloc(0)]]))
  expect(partitions.map(({ diverging }) => diverging)).toEqual([{ leaderEpoch: 4, endOffset: 60 }, null])
  expect(parseFetchReply(0, 1, 13, reply([other])).partitions.map(({ diverging }) => diverging)).toEqual([null, null])
})

test('a request names the epoch that was fetched last, -1 where that is not known', () => {
  const limits = { maxWaitMs: 0, maxBytes: 1, maxPartitionBytes: 1 }
  const place = { topicId, partition: 0, offset: 100, leaderEpoch: 9 }
  const [known, unknown] = [createFetchRequest([{ ...place, lastFetchedEpoch: 7 }], limits), createFetchRequest([place], limits)]
  // Behind the offset of the partition.
  const at = known.buffer.indexOf(Buffer.from([0, 0, 0, 0, 0, 0, 0, 100])) + 8
  expect([known.buffer.readInt32BE(at), unknown.buffer.readInt32BE(at)]).toEqual([7, -1])
  expect(known.length).toBe(unknown.length)
})
