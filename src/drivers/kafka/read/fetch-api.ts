import { type API, type Reader, type Writer, createAPI, RequestWriter } from '../client.ts'

/** Where to read one partition on. */
export interface FetchPlace {
  readonly topicId: string
  readonly partition: number
  readonly offset: number
  /** Epoch of the leader that is asked, -1: not known. A leader of another one refuses. */
  readonly leaderEpoch: number
}

export interface FetchLimits {
  readonly maxWaitMs: number
  readonly maxBytes: number
  readonly maxPartitionBytes: number
}

/** What a broker says of one partition; `records` are its batches as they lie on the disk. */
export interface FetchAnswer {
  readonly topicId: string
  readonly partition: number
  readonly errorCode: number
  readonly highWatermark: number
  readonly lastStableOffset: number
  readonly abortedTransactions: readonly { readonly producerId: bigint; readonly firstOffset: bigint }[]
  readonly records: Buffer | null
}

export interface FetchReply {
  readonly errorCode: number
  readonly partitions: readonly FetchAnswer[]
}

const readCommitted = 1

/**
 * Fetch, version 13: topics by id, so that a topic made anew is never read under an old position. The records stay bytes, which the client's own parser would
 * turn into objects of its own. Without a fetch session: each request names all its partitions.
 */
export const fetchApi: API<[places: readonly FetchPlace[], limits: FetchLimits], FetchReply> = createAPI(1, 13, createRequest, parseReply)

function createRequest(places: readonly FetchPlace[], { maxWaitMs, maxBytes, maxPartitionBytes }: FetchLimits): Writer {
  return RequestWriter.create()
    .appendInt32(-1)
    .appendInt32(maxWaitMs)
    .appendInt32(1)
    .appendInt32(maxBytes)
    .appendInt8(readCommitted)
    .appendInt32(0)
    .appendInt32(-1)
    .appendArray(byTopic(places), (writer, [topicId, mine]) => {
      writer.appendUUID(topicId).appendArray(mine, (w, { partition, leaderEpoch, offset }) => {
        w.appendInt32(partition)
          .appendInt32(leaderEpoch)
          .appendInt64(BigInt(offset))
          .appendInt32(-1)
          .appendInt64(-1n)
          .appendInt32(maxPartitionBytes)
      })
    })
    .appendArray([], () => undefined)
    .appendString('')
    .appendTaggedFields()
}

/** In the order in which topics, and partitions within them, come first: brokers fill a reply in the order asked for. */
function byTopic(places: readonly FetchPlace[]): [string, FetchPlace[]][] {
  const topics = new Map<string, FetchPlace[]>()
  for (const place of places) {
    const mine = topics.get(place.topicId)
    if (mine === undefined) topics.set(place.topicId, [place])
    else mine.push(place)
  }
  return [...topics]
}

function parseReply(_correlationId: number, _apiKey: number, _apiVersion: number, reader: Reader): FetchReply {
  reader.readInt32()
  const errorCode = reader.readInt16()
  reader.readInt32()
  const partitions: FetchAnswer[] = []
  reader.readArray((topics) => {
    const topicId = topics.readUUID()
    topics.readArray((partition) => void partitions.push(readPartition(partition, topicId)))
  })
  return { errorCode, partitions }
}

function readPartition(reader: Reader, topicId: string): FetchAnswer {
  const partition = reader.readInt32()
  const errorCode = reader.readInt16()
  const highWatermark = Number(reader.readInt64())
  const lastStableOffset = Number(reader.readInt64())
  reader.readInt64()
  const aborted = reader.readNullableArray((r) => ({ producerId: r.readInt64(), firstOffset: r.readInt64() }))
  reader.readInt32()
  const size = reader.readUnsignedVarInt() - 1
  const records = size > 0 ? reader.buffer.slice(reader.position, reader.position + size) : null
  if (size > 0) reader.skip(size)
  return { topicId, partition, errorCode, highWatermark, lastStableOffset, abortedTransactions: aborted ?? [], records }
}
