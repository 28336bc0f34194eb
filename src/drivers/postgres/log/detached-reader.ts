import { brokerClosed } from '../../../message/broker-error.ts'
import type { Fetched, FetchOptions, FetchPosition, LogReader as LogReaderPort } from '../../../message/port.ts'
import type { LogReader } from './log-reader.ts'

/** A reader that is no member of a group. */
export class DetachedReader implements LogReaderPort {
  readonly #reader: LogReader
  readonly #ended: () => void
  readonly #closing = new AbortController()

  /** `ended` is called once. */
  constructor(reader: LogReader, ended: () => void) {
    this.#reader = reader
    this.#ended = ended
  }

  async fetch(from: readonly FetchPosition[], options: FetchOptions): Promise<readonly Fetched[]> {
    if (this.#closing.signal.aborted) throw brokerClosed('reader')
    const signal = options.signal === undefined ? this.#closing.signal : AbortSignal.any([options.signal, this.#closing.signal])
    return this.#reader.fetch(from, { ...options, signal })
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    this.#ended()
  }
}
