import type { Header, OutgoingRecord } from '../../../message/port.ts'

/** First byte of a batch. `log_decode` of the migrations reads the same format; docs/design/postgres-log.md describes it. */
export const batchFormat = 1

/**
 * Writes records as the log stores them, many batches one after the other into one buffer that grows.
 *
 * A batch: the format, the names of its headers (each once), then the records: key, value, and headers as (number of the name, value).
 * Lengths are varints, one more than the length so that 0 is `null`; a header's says in its lowest bit whether it was text.
 */
export class BatchWriter {
  #buffer: Buffer
  #end = 0

  constructor(size: number) {
    this.#buffer = Buffer.allocUnsafe(Math.max(size, 1024))
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#end
  }

  /** What was written. Valid until the next write. */
  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#end)
  }

  /** Appends one batch. Returns its length in bytes. */
  write(records: readonly OutgoingRecord[]): number {
    const start = this.#end
    const names = namesOf(records)
    this.#number(batchFormat)
    this.#number(names.size)
    for (const name of names.keys()) this.#text(name, 0)
    for (const record of records) this.#record(record, names)
    return this.#end - start
  }

  #record({ key, value, headers }: OutgoingRecord, names: ReadonlyMap<string, number>): void {
    this.#nullable(key)
    this.#nullable(value)
    this.#number(headers.length)
    for (const [name, content] of headers) {
      this.#number(names.get(name)!)
      this.#header(content)
    }
  }

  #nullable(bytes: Buffer | null): void {
    if (bytes === null) return this.#number(0)
    this.#number(bytes.length + 1)
    this.#bytes(bytes)
  }

  #header(content: Header[1]): void {
    if (content === null) return this.#number(0)
    if (typeof content === 'string') return this.#text(content, 1)
    this.#number(1 + content.length * 2)
    this.#bytes(content)
  }

  /** A name (its length as it is) or a header's text (`mark` 1: doubled, with the bit that says text, and one more). */
  #text(text: string, mark: 0 | 1): void {
    const length = Buffer.byteLength(text)
    this.#number(mark === 0 ? length : 2 + length * 2)
    this.#reserve(length)
    this.#buffer.write(text, this.#end, length, 'utf8')
    this.#end += length
  }

  #bytes(bytes: Buffer): void {
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#end)
    this.#end += bytes.length
  }

  #number(value: number): void {
    this.#reserve(5)
    while (value > 127) {
      this.#buffer[this.#end++] = (value & 127) | 128
      value >>>= 7
    }
    this.#buffer[this.#end++] = value
  }

  #reserve(more: number): void {
    if (this.#end + more <= this.#buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#end + more))
    this.#buffer.copy(larger, 0, 0, this.#end)
    this.#buffer = larger
  }
}

function namesOf(records: readonly OutgoingRecord[]): Map<string, number> {
  const names = new Map<string, number>()
  for (const { headers } of records) {
    for (const [name] of headers) if (!names.has(name)) names.set(name, names.size)
  }
  return names
}
