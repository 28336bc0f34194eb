import type { KafkaBroker } from 'tidemark/kafka'

/** How many records the topic holds. Offsets are dense here: nothing is transactional, nothing is compacted. */
export async function recordsIn(client: KafkaBroker, topic: string): Promise<number> {
  const ends = await client.offsets(topic, 'latest')
  return ends.reduce((sum, end) => sum + end, 0)
}
