import { brokerClosed, noSuchPartition, topicMadeAnew } from '../../message/broker-error.ts'
import { recordBytes } from '../../message/page.ts'
import type { Fetched, FetchOptions, FetchPosition, LogReader } from '../../message/port.ts'
import type { MemoryLog } from './memory-log.ts'
import type { MemoryTopic } from './memory-topic.ts'

/** Reads from memory. */
export class MemoryReader implements LogReader {
  readonly #log: MemoryLog
  /** Named in errors: what was closed. */
  readonly #as: 'membership' | 'reader'
  readonly #ended: () => void
  readonly #waiting = new Set<() => void>()
  #turn = 0
  #closed = false

  constructor(log: MemoryLog, as: 'membership' | 'reader', ended: () => void = () => undefined) {
    this.#log = log
    this.#as = as
    this.#ended = ended
  }

  async fetch(from: readonly FetchPosition[], options: FetchOptions): Promise<readonly Fetched[]> {
    if (this.#closed) throw brokerClosed(this.#as)
    const first = from.length === 0 ? 0 : this.#turn++ % from.length
    const asked = this.#resolve([...from.slice(first), ...from.slice(0, first)])
    const found = this.#read(asked, options.maxBytes)
    if (found.length > 0 || options.maxWaitMs <= 0) return found
    await this.#changed(asked, options)
    if (this.#closed || options.signal?.aborted === true) return []
    return this.#read(asked, options.maxBytes)
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const wake of [...this.#waiting]) wake()
    this.#ended()
  }

  #resolve(from: readonly FetchPosition[]): { topic: MemoryTopic; position: FetchPosition }[] {
    return from.map((position) => {
      const topic = this.#log.topic(position.topic)
      if (position.topicId !== undefined && topic.id !== position.topicId) throw topicMadeAnew(topic, position.topicId)
      if (position.partition >= topic.partitions) throw noSuchPartition(topic, position.partition)
      return { topic, position }
    })
  }

  #read(asked: readonly { topic: MemoryTopic; position: FetchPosition }[], maxBytes: number): Fetched[] {
    const found: Fetched[] = []
    let left = maxBytes
    const news = asked.filter(({ topic, position }) => this.#current(topic).end(position.partition) !== position.offset)
    news.forEach(({ topic, position }, i) => {
      const room = { share: left / (news.length - i), left, atLeastOne: left === maxBytes }
      const one = topic.read(position.partition, position.offset, room)
      if (one === null) return
      found.push(one)
      for (const record of one.records) left -= recordBytes(record)
    })
    return found
  }

  /** A topic that was deleted while we waited is an error, not silence. */
  #current(topic: MemoryTopic): MemoryTopic {
    const now = this.#log.topic(topic.name)
    if (now !== topic) throw topicMadeAnew(now, topic.id)
    return topic
  }

  /** Resolves when a partition is not at its asked offset any more, a topic is gone, or waiting is over. */
  #changed(asked: readonly { topic: MemoryTopic; position: FetchPosition }[], { maxWaitMs, signal }: FetchOptions): Promise<void> {
    const log = this.#log
    if (signal?.aborted === true) return Promise.resolve()
    return new Promise((resolve) => {
      const wake = (): void => {
        cancel()
        unwatch()
        signal?.removeEventListener('abort', wake)
        this.#waiting.delete(wake)
        resolve()
      }
      const cancel = log.clock.after(maxWaitMs, wake)
      const unwatch = log.watch(() => {
        if (asked.some(({ topic, position }) => !log.has(topic) || topic.end(position.partition) !== position.offset)) wake()
      })
      signal?.addEventListener('abort', wake, { once: true })
      this.#waiting.add(wake)
    })
  }
}
