import { type API, type Reader, type Writer, createAPI, RequestWriter } from '../client.ts'

export interface TransactionPartitions {
  readonly transactionalId: string
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly topics: readonly (readonly [topic: string, partitions: readonly number[]])[]
}

/**
 * AddPartitionsToTxn, version 3, the last one for clients. (What the client exports under this number has the form of version 4, which only brokers send.)
 * `errorCode` is the first one found.
 */
export const addPartitionsApi: API<[request: TransactionPartitions], { readonly errorCode: number }> = createAPI(
  24,
  3,
  createRequest,
  parseReply,
)

function createRequest({ transactionalId, producerId, producerEpoch, topics }: TransactionPartitions): Writer {
  return RequestWriter.create()
    .appendString(transactionalId)
    .appendInt64(producerId)
    .appendInt16(producerEpoch)
    .appendArray([...topics], (writer, [topic, partitions]) => {
      writer.appendString(topic).appendArray([...partitions], (w, partition) => w.appendInt32(partition), true, false)
    })
    .appendTaggedFields()
}

function parseReply(_correlationId: number, _apiKey: number, _apiVersion: number, reader: Reader): { readonly errorCode: number } {
  reader.readInt32()
  const codes = reader.readArray((topic) => {
    topic.readString()
    return topic.readArray((partition) => {
      partition.readInt32()
      return partition.readInt16()
    })
  })
  return { errorCode: codes.flat().find((code) => code !== 0) ?? 0 }
}
