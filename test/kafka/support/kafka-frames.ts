/** Cuts one direction of a connection into the messages of Kafka's protocol, which begin with their length. */
export class KafkaFrames {
  #rest: Buffer = Buffer.alloc(0)

  /** The messages that end in this piece, without their length. */
  push(data: Buffer): readonly Buffer[] {
    this.#rest = this.#rest.length === 0 ? data : Buffer.concat([this.#rest, data])
    const whole: Buffer[] = []
    while (this.#rest.length >= 4 && this.#rest.length >= 4 + this.#rest.readInt32BE(0)) {
      const end = 4 + this.#rest.readInt32BE(0)
      whole.push(this.#rest.subarray(4, end))
      this.#rest = this.#rest.subarray(end)
    }
    return whole
  }
}

/** Requests by their numbers in the protocol. */
export const requestNames = {
  0: 'produce',
  1: 'fetch',
  2: 'list offsets',
  3: 'metadata',
  8: 'commit offsets',
  9: 'fetch offsets',
  10: 'find coordinator',
  11: 'join',
  12: 'heartbeat',
  13: 'leave',
  14: 'sync',
  22: 'producer id',
  24: 'enlist',
  26: 'end transaction',
  65: 'describe transaction',
  68: 'group heartbeat',
} as const

export type RequestName = (typeof requestNames)[keyof typeof requestNames] | 'other'

/** Who asked, what, and by which number. */
export interface RequestHead {
  readonly clientId: string
  readonly request: RequestName
  readonly correlationId: number
}

export function readRequestHead(frame: Buffer): RequestHead {
  const names: Readonly<Record<number, RequestName>> = requestNames
  return {
    request: names[frame.readInt16BE(0)] ?? 'other',
    correlationId: frame.readInt32BE(4),
    clientId: frame.toString('utf8', 10, 10 + Math.max(0, frame.readInt16BE(8))),
  }
}
