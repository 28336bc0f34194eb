/** Bytes gathered piece by piece. */
export class GrowingBuffer {
  #buffer: Buffer
  #length = 0

  /** `expected`: about how many will come. It grows beyond. */
  constructor(expected: number) {
    this.#buffer = Buffer.allocUnsafe(expected)
  }

  /** Copies the piece. */
  append(piece: Buffer): void {
    const length = this.#length + piece.length
    if (length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, length))
      larger.set(this.bytes)
      this.#buffer = larger
    }
    this.#buffer.set(piece, this.#length)
    this.#length = length
  }

  /** All that was appended; a view, good until more is. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }
}
