import { type API, type Reader, type Writer, createAPI, RequestWriter } from '../client.ts'

/** One encoded batch for one partition. */
export interface ProduceBatch {
  readonly topic: string
  readonly partition: number
  readonly batch: Buffer
}

export interface ProduceAnswer {
  readonly topic: string
  readonly partition: number
  readonly errorCode: number
  readonly errorMessage: string | null
  /** Of the batch's first record; -1 where the broker does not know any more. */
  readonly baseOffset: number
  /** Records the broker objects to, by their place in the batch. */
  readonly recordErrors: readonly { readonly index: number; readonly message: string | null }[]
}

/** All replicas in sync have it. */
const acknowledgedByAll = -1

/**
 * Produce, version 9, with batches encoded by us: the client's own request encodes a batch by looking at every message several times. At most one batch
 * for each partition, as brokers demand.
 */
export const produceApi: API<
  [transactionalId: string | null, timeoutMs: number, batches: readonly ProduceBatch[]],
  readonly ProduceAnswer[]
> = createAPI(0, 9, createRequest, parseReply)

function createRequest(transactionalId: string | null, timeoutMs: number, batches: readonly ProduceBatch[]): Writer {
  const topics = new Map<string, ProduceBatch[]>()
  for (const one of batches) {
    const mine = topics.get(one.topic)
    if (mine === undefined) topics.set(one.topic, [one])
    else mine.push(one)
  }
  return RequestWriter.create()
    .appendString(transactionalId)
    .appendInt16(acknowledgedByAll)
    .appendInt32(timeoutMs)
    .appendArray([...topics], (writer, [topic, mine]) => {
      writer.appendString(topic).appendArray(mine, (w, { partition, batch }) => {
        w.appendInt32(partition)
          .appendUnsignedVarInt(batch.length + 1)
          .append(batch)
      })
    })
    .appendTaggedFields()
}

function parseReply(_correlationId: number, _apiKey: number, _apiVersion: number, reader: Reader): readonly ProduceAnswer[] {
  const answers: ProduceAnswer[] = []
  reader.readArray((topics) => {
    const topic = topics.readString()
    topics.readArray((partition) => void answers.push(readPartition(partition, topic)))
  })
  return answers
}

function readPartition(reader: Reader, topic: string): ProduceAnswer {
  const partition = reader.readInt32()
  const errorCode = reader.readInt16()
  const baseOffset = Number(reader.readInt64())
  reader.skip(16)
  const recordErrors = reader.readArray((r) => ({ index: r.readInt32(), message: r.readNullableString() }))
  return { topic, partition, errorCode, baseOffset, recordErrors, errorMessage: reader.readNullableString() }
}
