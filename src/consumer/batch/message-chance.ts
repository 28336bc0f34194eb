import { createHash } from 'node:crypto'

/**
 * Time, ids and chance that are the same in every run of a message: a handler that takes them from here does the same thing again when its
 * batch is run again, and in a replay. Members can be taken out of it: `({ tx, uuid }) => …`.
 */
export class MessageChance {
  readonly #identity: string
  readonly #timestamp: number
  #uuids = 0
  #numbers = 0

  constructor(identity: string, timestamp: number) {
    this.#identity = identity
    this.#timestamp = timestamp
  }

  // Getters of bound functions: made only for those who ask, which most handlers do not.
  get now(): () => Date {
    return () => new Date(this.#timestamp)
  }

  get uuid(): () => string {
    return () => this.#nextUuid()
  }

  get random(): () => number {
    return () => this.#bytes('random', this.#numbers++).readUIntBE(0, 6) / 2 ** 48
  }

  #nextUuid(): string {
    const bytes = this.#bytes('uuid', this.#uuids++)
    bytes.writeUIntBE(Math.max(0, Math.min(this.#timestamp, 2 ** 48 - 1)), 0, 6)
    bytes[6] = (bytes[6]! & 0x0f) | 0x70
    bytes[8] = (bytes[8]! & 0x3f) | 0x80
    return bytes.toString('hex', 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  }

  #bytes(purpose: string, count: number): Buffer {
    return createHash('sha256').update(`${purpose} ${count} ${this.#identity}`).digest()
  }
}
