import { TidemarkError } from '../../../src/errors.ts'
import { type KafkaBrokerOptions, kafka } from '../../../src/drivers/kafka/index.ts'

/** The broker's own topic of what groups have committed, each commit a record. */
const topic = '__consumer_offsets'

/** What groups commit from a moment on, one commit after the other, as the broker keeps it. */
export interface OffsetHistory {
  /** The offsets that a group has committed since, in order, by `topic/partition`. */
  of(group: string): Promise<ReadonlyMap<string, readonly number[]>>
}

/** Begins at the present end of the broker's notes. */
export async function offsetHistory(options: KafkaBrokerOptions): Promise<OffsetHistory> {
  // The first group of a cluster makes the topic.
  const from = await withBroker(options, async (broker) =>
    broker.offsets(topic, 'latest').catch((error: unknown) => {
      if (TidemarkError.is(error, 'TOPIC_UNKNOWN')) return []
      throw error
    }),
  )
  return { of: (group) => withBroker(options, (broker) => readHistory(broker, from, group)) }
}

/** Steps that go down, by `topic/partition`: a group that went back. */
export function stepsBack(history: ReadonlyMap<string, readonly number[]>): readonly string[] {
  return [...history].flatMap(([place, offsets]) =>
    offsets.flatMap((offset, i) => (i > 0 && offset < offsets[i - 1]! ? [`${place}: ${offsets[i - 1]!} to ${offset}`] : [])),
  )
}

async function withBroker<T>(options: KafkaBrokerOptions, work: (broker: ReturnType<typeof kafka>) => Promise<T>): Promise<T> {
  const broker = kafka(options)
  try {
    return await work(broker)
  } finally {
    await broker.close()
  }
}

async function readHistory(broker: ReturnType<typeof kafka>, from: readonly number[], group: string): Promise<Map<string, number[]>> {
  const ends = await broker.offsets(topic, 'latest')
  const positions = new Map(ends.map((_, partition) => [partition, { topic, partition, offset: from[partition] ?? 0 }]))
  const reader = broker.reader()
  const history = new Map<string, number[]>()
  for (;;) {
    for (const { partition, offset } of positions.values()) if (offset >= ends[partition]!) positions.delete(partition)
    if (positions.size === 0) return history
    for (const { partition, records, nextOffset } of await reader.fetch([...positions.values()], {
      maxBytes: 4_000_000,
      maxWaitMs: 2_000,
    })) {
      positions.set(partition, { topic, partition, offset: nextOffset })
      for (const { key, value } of records) {
        const place = committedPlace(key)
        if (place?.group !== group || value === null) continue
        const name = `${place.topic}/${place.partition}`
        history.set(name, [...(history.get(name) ?? []), Number(value.readBigInt64BE(2))])
      }
    }
  }
}

/** Of a record's key; `null` for what is not a commit. */
function committedPlace(key: Buffer | null): { readonly group: string; readonly topic: string; readonly partition: number } | null {
  if (key === null || key.readInt16BE(0) > 1) return null
  const groupEnd = 4 + key.readInt16BE(2)
  const topicEnd = groupEnd + 2 + key.readInt16BE(groupEnd)
  return {
    group: key.toString('utf8', 4, groupEnd),
    topic: key.toString('utf8', groupEnd + 2, topicEnd),
    partition: key.readInt32BE(topicEnd),
  }
}
