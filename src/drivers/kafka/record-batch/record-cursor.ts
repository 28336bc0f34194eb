/**
 * Reads the records of a batch. What is not in the bytes, or is not of the form, throws a `RangeError` that completes "The batch is damaged: ".
 * A position past the end reads as nothing, so that the ends of records, checked one by one, are checks enough.
 */
export class RecordCursor {
  readonly bytes: Buffer
  position = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  byte(): number {
    const byte = this.bytes[this.position++]
    if (byte === undefined) throw new RangeError('a record is cut off')
    return byte
  }

  /** A zig-zag varint of at most 5 bytes. */
  varint(): number {
    const first = this.bytes[this.position++]!
    if (first < 128) return (first >>> 1) ^ -(first & 1)
    let raw = first & 127
    for (let shift = 7; shift <= 28; shift += 7) {
      const byte = this.byte()
      raw |= (byte & 127) << shift
      if (byte < 128) return (raw >>> 1) ^ -(raw & 1)
    }
    throw new RangeError('a number has more than 5 bytes')
  }

  /** A zig-zag varint of at most 10 bytes; beyond 2^53 the nearest number. */
  varlong(): number {
    const start = this.position
    let raw = 0
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.byte()
      raw |= (byte & 127) << shift
      if (byte < 128) return (raw >>> 1) ^ -(raw & 1)
    }
    this.position = start
    return this.#longVarlong()
  }

  /** `null` for a negative length. */
  nullable(end: number): Buffer | null {
    const length = this.varint()
    if (length < 0) return null
    const start = this.skip(length, end)
    return this.bytes.subarray(start, this.position)
  }

  /** Moves on by `length` bytes, which must be there before `end`. Gives the position before. */
  skip(length: number, end: number): number {
    const start = this.position
    if (length < 0 || length > end - start) throw new RangeError(`a length is ${length}, where ${end - start} bytes are left`)
    this.position = start + length
    return start
  }

  #longVarlong(): number {
    let raw = 0n
    for (let shift = 0n; shift <= 63n; shift += 7n) {
      const byte = this.byte()
      raw |= BigInt(byte & 127) << shift
      if (byte < 128) return Number((raw >> 1n) ^ -(raw & 1n))
    }
    throw new RangeError('a number has more than 10 bytes')
  }
}
