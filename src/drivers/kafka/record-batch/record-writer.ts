import type { Header } from '../../../message/port.ts'
import { type RecordContent, varintSize } from './record-size.ts'

/**
 * Writes the records of one batch into one buffer that grows. Nothing is measured first: a length is written behind its content, in the room that was
 * guessed for it, and the content moves where the guess was wrong.
 */
export class RecordWriter {
  #buffer: Buffer
  #end: number
  readonly #names = new Map<string, Buffer>()

  /** `head`: bytes left free at the beginning. `expected`: about how many there will be in all. */
  constructor(head: number, expected: number) {
    this.#buffer = Buffer.allocUnsafe(Math.max(head, expected))
    this.#end = head
  }

  /** The head and what was written. The writer is not to be used after it. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#end)
  }

  write({ key, value, headers }: RecordContent, index: number): void {
    this.#reserve(usualLengthSize + 12)
    const start = this.#end
    this.#end = start + usualLengthSize
    this.#buffer[this.#end++] = 0 // attributes, of which there are none
    this.#buffer[this.#end++] = 0 // the timestamp is the batch's
    this.#varint(index)
    this.#nullable(key)
    this.#nullable(value)
    this.#reserve(5)
    this.#varint(headers.length)
    for (const [name, content] of headers) {
      this.#name(name)
      this.#header(content)
    }
    this.#close(start, usualLengthSize)
  }

  #name(name: string): void {
    let encoded = this.#names.get(name)
    if (encoded === undefined) {
      const start = this.#end
      this.#text(name)
      encoded = Buffer.from(this.#buffer.subarray(start, this.#end))
      // Names are few; should a producer ever make them up record by record, they are not all kept.
      if (this.#names.size < 256) this.#names.set(name, encoded)
    } else this.#bytes(encoded)
  }

  #header(content: Header[1]): void {
    if (typeof content === 'string') this.#text(content)
    else this.#nullable(content)
  }

  #text(text: string): void {
    this.#reserve(5 + 3 * text.length)
    const start = this.#end
    if (text.length <= shortText && this.#ascii(text)) return
    const lengthSize = varintSize(text.length)
    this.#end += lengthSize
    this.#end += this.#buffer.write(text, this.#end)
    this.#close(start, lengthSize)
  }

  /** Writes a short text of ASCII, as ids, times and types are, by itself: a call of the runtime takes longer. `false`: it is none. */
  #ascii(text: string): boolean {
    const buffer = this.#buffer
    let end = this.#end + 1
    for (let index = 0; index < text.length; index++) {
      const unit = text.charCodeAt(index)
      if (unit > 127) return false
      buffer[end++] = unit
    }
    buffer[this.#end] = text.length * 2
    this.#end = end
    return true
  }

  #nullable(bytes: Buffer | null): void {
    this.#reserve(5)
    if (bytes === null) {
      this.#buffer[this.#end++] = 1 // the length -1
      return
    }
    this.#varint(bytes.length)
    this.#bytes(bytes)
  }

  #bytes(bytes: Buffer): void {
    const { length } = bytes
    this.#reserve(length)
    if (length > shortBytes) this.#buffer.set(bytes, this.#end)
    else for (let index = 0; index < length; index++) this.#buffer[this.#end + index] = bytes[index]!
    this.#end += length
  }

  /** Writes at `start` the length of what stands from `start + guessed` on, and moves it where the length takes more or less than `guessed` bytes. */
  #close(start: number, guessed: number): void {
    const from = start + guessed
    const length = this.#end - from
    const size = varintSize(length)
    if (size !== guessed) {
      this.#reserve(5)
      this.#buffer.copyWithin(start + size, from, this.#end)
    }
    this.#end = start
    this.#varint(length)
    this.#end += length
  }

  /** A zig-zag varint of a number that is not negative. The room is reserved. */
  #varint(value: number): void {
    let rest = value * 2
    while (rest > 127) {
      this.#buffer[this.#end++] = (rest & 127) | 128
      rest >>>= 7
    }
    this.#buffer[this.#end++] = rest
  }

  #reserve(more: number): void {
    if (this.#end + more <= this.#buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#end + more))
    larger.set(this.#buffer.subarray(0, this.#end))
    this.#buffer = larger
  }
}

/** Of a record's own length: right for records of 64 to 8,191 bytes. */
const usualLengthSize = 2

/** The most whose length takes one byte. */
const shortText = 63

/** Up to here a loop is quicker than a call of the runtime. */
const shortBytes = 24
