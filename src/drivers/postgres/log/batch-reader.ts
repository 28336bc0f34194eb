import type { Header, LogRecord, TopicPartition } from '../../../message/port.ts'
import { TidemarkError } from '../../../errors.ts'
import { batchFormat } from './batch-writer.ts'

/** A batch as it is stored. */
export interface StoredBatch {
  readonly baseOffset: number
  readonly records: number
  readonly appendedMs: number
  readonly body: Buffer
}

/**
 * Adds the batch's records from `fromOffset` on to `records`. Keys and values are slices of the body, not copies; header names are shared by all
 * records of the batch. Throws `MESSAGE_UNDECODABLE` for a body that no version of this format wrote.
 */
export function readBatch({ topic, partition }: TopicPartition, batch: StoredBatch, fromOffset: number, records: LogRecord[]): void {
  const { baseOffset, appendedMs, body } = batch
  const reader = new Reader(body)
  const format = reader.number()
  if (format !== batchFormat) {
    throw new TidemarkError(
      'MESSAGE_UNDECODABLE',
      `The batch at ${topic}/${partition}/${baseOffset} has format ${format}; this version reads ${batchFormat}.`,
      {
        remedy: 'A newer version of Tidemark wrote it: upgrade this process.',
      },
    )
  }
  const names = Array.from({ length: reader.number() }, () => reader.text(reader.number()))
  for (let i = 0; i < batch.records; i++) {
    const key = reader.nullable()
    const value = reader.nullable()
    const headers = reader.headers(names)
    if (baseOffset + i >= fromOffset) records.push({ topic, partition, offset: baseOffset + i, timestamp: appendedMs, key, value, headers })
  }
}

class Reader {
  readonly #body: Buffer
  #at = 0

  constructor(body: Buffer) {
    this.#body = body
  }

  number(): number {
    let byte = this.#body[this.#at++]!
    if (byte < 128) return byte
    let value = byte & 127
    for (let shift = 7; byte > 127; shift += 7) {
      byte = this.#body[this.#at++]!
      value |= (byte & 127) << shift
    }
    return value >>> 0
  }

  text(length: number): string {
    this.#at += length
    return this.#body.toString('utf8', this.#at - length, this.#at)
  }

  bytes(length: number): Buffer {
    this.#at += length
    return this.#body.subarray(this.#at - length, this.#at)
  }

  nullable(): Buffer | null {
    const code = this.number()
    return code === 0 ? null : this.bytes(code - 1)
  }

  headers(names: readonly string[]): Header[] {
    const count = this.number()
    const headers = new Array<Header>(count)
    for (let i = 0; i < count; i++) {
      const name = names[this.number()]!
      const code = this.number()
      // 0 is null; else twice the length, one more for text, and one more for not being null.
      const length = (code - 1) >>> 1
      headers[i] = [name, code === 0 ? null : (code - 1) & 1 ? this.text(length) : this.bytes(length)]
    }
    return headers
  }
}
