import type { KafkaBroker } from 'tidemark/kafka'
import { partitions } from './broker.ts'
import { payloadCount } from './payloads.ts'

/** Rejects unless the topic holds our payloads in turn, each as often as it was sent and in order within its partition. */
export async function checkPayloads(client: KafkaBroker, topic: string, messages: number): Promise<void> {
  const times = new Uint32Array(payloadCount)
  const ends = await client.offsets(topic, 'latest')
  const reader = client.reader()
  try {
    for (let partition = 0; partition < partitions; partition += 1) {
      let round = 0
      let before = -1
      for (let offset = 0; offset < ends[partition]!;) {
        const fetched = await reader.fetch([{ topic, partition, offset }], { maxBytes: 8 * 1024 * 1024, maxWaitMs: 5_000 })
        for (const { records, nextOffset } of fetched) {
          for (const { value } of records) {
            const index = numberOf(value!) - 1
            times[index]! += 1
            // The first message of all has the number 0, and so the first payload.
            if (index <= before) round += 1
            if (times[index]! !== round + 1) throw new Error(`wrong log: payload ${index + 1} out of order in partition ${partition}`)
            before = index
          }
          offset = nextOffset
        }
      }
    }
  } finally {
    await reader.close()
  }
  const wrong = times.findIndex((count, index) => count !== Math.ceil((messages - index) / payloadCount))
  if (wrong >= 0) throw new Error(`wrong log: payload ${wrong + 1} is there ${times[wrong]!} times`)
}

const numberAt = '{"orderId":"order-'.length

function numberOf(value: Buffer): number {
  return Number(value.toString('latin1', numberAt, numberAt + 8))
}
