import type { DebeziumSettings } from './debezium.ts'

/** Kafka's own script starts a Connect worker with this heap. */
const heapMb = 2_048

const largeBatches = {
  'max.batch.size': '16384',
  'max.queue.size': '65536',
  'poll.interval.ms': '10',
  'producer.override.linger.ms': '5',
  'producer.override.batch.size': '524288',
}

/**
 * The settings that were tried for a backlog, by name. `npm run bench -- kafka --tune` runs them all; the best stands first and is the one the bench
 * uses. Where they come from is told in docs/design/benchmarks.md.
 */
export const debeziumSettings: Readonly<Record<string, DebeziumSettings>> = {
  'larger batches': {
    heapMb,
    config: { ...largeBatches, 'max.batch.size': '65536', 'max.queue.size': '262144', 'producer.override.linger.ms': '50' },
  },
  'large batches': { heapMb, config: largeBatches },
  'large batches, lz4': { heapMb, config: { ...largeBatches, 'producer.override.compression.type': 'lz4' } },
  'poll interval of 100 ms': { heapMb, config: { ...largeBatches, 'poll.interval.ms': '100' } },
  'as printed': { heapMb, config: {} },
}

/** The best ones in a small heap: what Debezium can do with is compared with our memory, not what it takes when it may. */
export const smallHeap: DebeziumSettings = { heapMb: 256, config: largeBatches }

/** For the time from commit to effect: what is there is sent at once. */
export const promptDebezium: DebeziumSettings = {
  heapMb,
  config: { 'poll.interval.ms': '1', 'producer.override.linger.ms': '0' },
}
