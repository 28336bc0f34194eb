import { type API, type Reader, type Writer, createAPI, RequestWriter } from '../client.ts'

/** Where to read one partition on. */
export interface FetchPlace {
  readonly topicId: string
  readonly partition: number
  readonly offset: number
  /** Epoch of the leader that is asked, -1: not known. A leader of another one refuses. */
  readonly leaderEpoch: number
  /** Epoch of the leader that appended what is before `offset`. The broker compares it with its log. @default -1, not known */
  readonly lastFetchedEpoch?: number
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
  /**
   * The log has left what was fetched before: of the epoch fetched last, or of the one before it that the log does know, it holds nothing from `endOffset`
   * on. Then there are no records.
   */
  readonly diverging: { readonly leaderEpoch: number; readonly endOffset: number } | null
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
export const fetchApi: API<[places: readonly FetchPlace[], limits: FetchLimits], FetchReply> = createAPI(
  1,
  13,
  createFetchRequest,
  parseFetchReply,
)

export function createFetchRequest(places: readonly FetchPlace[], { maxWaitMs, maxBytes, maxPartitionBytes }: FetchLimits): Writer {
  return RequestWriter.create()
    .appendInt32(-1)
    .appendInt32(maxWaitMs)
    .appendInt32(1)
    .appendInt32(maxBytes)
    .appendInt8(readCommitted)
    .appendInt32(0)
    .appendInt32(-1)
    .appendArray(byTopic(places), (writer, [topicId, mine]) => {
      writer.appendUUID(topicId).appendArray(mine, (w, { partition, leaderEpoch, offset, lastFetchedEpoch = -1 }) => {
        w.appendInt32(partition)
          .appendInt32(leaderEpoch)
          .appendInt64(BigInt(offset))
          .appendInt32(lastFetchedEpoch)
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

export function parseFetchReply(_correlationId: number, _apiKey: number, _apiVersion: number, reader: Reader): FetchReply {
  reader.readInt32()
  const errorCode = reader.readInt16()
  reader.readInt32()
  const partitions: FetchAnswer[] = []
  reader.readArray((topics) => {
    const topicId = topics.readUUID()
    topics.readArray((partition) => void partitions.push(readPartition(partition, topicId)), true, false)
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
  const diverging = readDiverging(reader)
  return { topicId, partition, errorCode, highWatermark, lastStableOffset, abortedTransactions: aborted ?? [], records, diverging }
}

/** The tagged field of the diverging epoch. */
const divergingTag = 0

/** The partition's tagged fields, which the client's reader would skip. */
function readDiverging(reader: Reader): FetchAnswer['diverging'] {
  let diverging: FetchAnswer['diverging'] = null
  for (let left = reader.readUnsignedVarInt(); left > 0; left--) {
    const tag = reader.readUnsignedVarInt()
    const end = reader.readUnsignedVarInt() + reader.position
    if (tag === divergingTag) diverging = { leaderEpoch: reader.readInt32(), endOffset: Number(reader.readInt64()) }
    reader.skip(end - reader.position)
  }
  return diverging
}
