/**
 * Writes messages of Postgres' extended query protocol into one buffer, so that a run of many statements is one write to the socket.
 * Format: PostgreSQL documentation, "Message Formats". Everything is for the unnamed statement and the unnamed portal, in text format but for
 * bytes, which go in binary.
 */
export class WireWriter {
  #buffer: Buffer
  #length = 0

  /** `expected`: roughly how many bytes will come. It grows beyond. */
  constructor(expected: number) {
    this.#buffer = Buffer.allocUnsafe(Math.max(expected, 256))
  }

  parse(text: string): void {
    const start = this.#open(0x50, 3 * text.length + 8)
    this.#byte(0)
    this.#length += this.#buffer.write(text, this.#length, 'utf8')
    this.#byte(0)
    this.#int16(0)
    this.#close(start)
  }

  bind(values: readonly (string | Buffer | null)[]): void {
    const start = this.#open(0x42, 16 + 6 * values.length)
    this.#int16(0) // portal and statement: two empty names
    this.#int16(values.length)
    for (const value of values) this.#int16(value instanceof Buffer ? 1 : 0)
    this.#int16(values.length)
    for (const value of values) this.#value(value)
    this.#reserve(2)
    this.#int16(0)
    this.#close(start)
  }

  /** Asks for the columns of what was bound. */
  describe(): void {
    this.#append(describe)
  }

  /** Executes what was bound, without a limit of rows. */
  execute(): void {
    this.#append(execute)
  }

  sync(): void {
    this.#append(sync)
  }

  /** What was written. The writer is not to be used after it. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }

  #value(value: string | Buffer | null): void {
    if (value === null) {
      this.#reserve(4)
      this.#int32(-1)
    } else if (typeof value === 'string') {
      this.#reserve(4 + 3 * value.length)
      const at = this.#length
      this.#length += 4
      const length = this.#buffer.write(value, this.#length, 'utf8')
      this.#buffer.writeInt32BE(length, at)
      this.#length += length
    } else {
      this.#reserve(4)
      this.#int32(value.length)
      this.#append(value)
    }
  }

  /** Begins a message; its length is written by `close`. */
  #open(type: number, size: number): number {
    this.#reserve(5 + size)
    this.#byte(type)
    this.#length += 4
    return this.#length - 4
  }

  #close(start: number): void {
    this.#buffer.writeInt32BE(this.#length - start, start)
  }

  #append(bytes: Buffer): void {
    this.#reserve(bytes.length)
    bytes.copy(this.#buffer, this.#length)
    this.#length += bytes.length
  }

  #byte(value: number): void {
    this.#buffer[this.#length++] = value
  }

  #int16(value: number): void {
    this.#buffer[this.#length++] = value >>> 8
    this.#buffer[this.#length++] = value & 255
  }

  #int32(value: number): void {
    this.#length = this.#buffer.writeInt32BE(value, this.#length)
  }

  #reserve(size: number): void {
    if (this.#length + size <= this.#buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + size))
    this.#buffer.copy(larger, 0, 0, this.#length)
    this.#buffer = larger
  }
}

// Of the unnamed portal.
const describe = Buffer.from([0x44, 0, 0, 0, 6, 0x50, 0])
const execute = Buffer.from([0x45, 0, 0, 0, 9, 0, 0, 0, 0, 0])
const sync = Buffer.from([0x53, 0, 0, 0, 4])
