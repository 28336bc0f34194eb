import type { Clock } from '../../../internal/clock.ts'
import { noSuchPartition, topicMadeAnew } from '../../../message/broker-error.ts'
import type { Fetched, FetchOptions, FetchPosition, LogRecord } from '../../../message/port.ts'
import type { TopicRow } from '../queries/log.ts'
import { type FetchedBatch, type ReadPosition, fetchBatches } from '../queries/log-fetch.ts'
import { readBatch } from './batch-reader.ts'
import type { HeadWatch } from './head-watch.ts'
import type { LogStore } from './log-store.ts'
import type { TopicDirectory } from './topic-directory.ts'

interface LogReaderParts {
  readonly store: LogStore
  readonly directory: TopicDirectory
  readonly watch: HeadWatch
  readonly clock: Clock
}

interface Asked extends ReadPosition {
  readonly topic: TopicRow
}

/** Reads partitions: one round trip when there is something, else waits at the watch and then reads. */
export class LogReader {
  readonly #parts: LogReaderParts
  #turn = 0

  constructor(parts: LogReaderParts) {
    this.#parts = parts
  }

  async fetch(from: readonly FetchPosition[], { maxBytes, maxWaitMs, signal }: FetchOptions): Promise<Fetched[]> {
    const { clock, watch } = this.#parts
    const until = clock.elapsed() + maxWaitMs
    for (;;) {
      if (signal?.aborted === true) return []
      const asked = await this.#resolve(this.#rotated(from))
      const found = asked.length === 0 ? [] : await this.#read(asked, maxBytes)
      const leftMs = until - clock.elapsed()
      if (found.length > 0 || leftMs <= 0) return found
      if (!(await watch.wait(asked, leftMs, signal))) return []
    }
  }

  /** Another partition comes first each time, so that none waits for ever behind the others. */
  #rotated(from: readonly FetchPosition[]): FetchPosition[] {
    const first = from.length === 0 ? 0 : this.#turn++ % from.length
    return [...from.slice(first), ...from.slice(0, first)]
  }

  async #resolve(from: readonly FetchPosition[]): Promise<Asked[]> {
    const { directory } = this.#parts
    const names = from.map(({ topic }) => topic)
    let topics = await directory.find(names)
    // What is remembered may be older than what the caller knows: look before saying no.
    const stale = from.filter(({ topic, topicId, partition }) => !fits(topics.get(topic)!, topicId, partition))
    if (stale.length > 0) {
      for (const { topic } of stale) directory.forget(topic)
      topics = await directory.find(names)
    }
    return from.map(({ topic: name, topicId, partition, offset }) => {
      const topic = topics.get(name)!
      if (fits(topic, topicId, partition)) return { topic, key: topic.key, partition, offset }
      throw partition >= topic.partitions ? noSuchPartition(topic, partition) : topicMadeAnew(topic, topicId!)
    })
  }

  async #read(asked: readonly Asked[], maxBytes: number): Promise<Fetched[]> {
    const { store, directory } = this.#parts
    const rows = await store.use((session, schema) => fetchBatches(session, schema, asked, maxBytes))
    const gone = rows.find(({ endOffset }) => endOffset === null)
    if (gone !== undefined) throw await directory.replaced(asked[gone.place]!.topic)
    const places = new Set(rows.map(({ place }) => place))
    return [...places].map((place) =>
      fetched(
        asked[place]!,
        rows.filter((row) => row.place === place),
      ),
    )
  }
}

function fetched({ topic, partition, offset }: Asked, rows: readonly FetchedBatch[]): Fetched {
  const place = { topic: topic.name, partition }
  const endOffset = rows[0]!.endOffset!
  if (rows[0]!.batch === null)
    return { ...place, records: [], endOffset, nextOffset: offset, outOfRange: { startOffset: rows[0]!.startOffset } }
  const records: LogRecord[] = []
  for (const { batch } of rows) readBatch(place, batch!, offset, records)
  return { ...place, records, endOffset, nextOffset: records.at(-1)!.offset + 1 }
}

function fits(topic: TopicRow, topicId: string | undefined, partition: number): boolean {
  return partition < topic.partitions && (topicId === undefined || topicId === topic.id)
}
