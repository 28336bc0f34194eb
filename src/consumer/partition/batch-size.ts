/** How large a batch may get. */
export interface BatchLimits {
  /** @default 1,000 messages */
  readonly maxMessages: number
  /** @default 4 MiB */
  readonly maxBytes: number
  /**
   * How long a batch should take at most, judged by the speed of the former ones. It bounds how long rows stay locked, how much is done
   * again after a crash, and how long a revoked partition keeps its successor waiting. @default 200 ms
   */
  readonly targetMs: number
}

export const defaultBatchLimits: BatchLimits = { maxMessages: 1_000, maxBytes: 4 * 1024 * 1024, targetMs: 200 }

/** Small enough to end in time with slow handlers, large enough to reach the maximum in four batches with fast ones. */
export const firstSize = 64

/** How many messages the next batch of a lane may have. */
export class BatchSize {
  readonly #limits: BatchLimits
  #msPerMessage: number | null = null
  #size: number

  constructor(limits: BatchLimits, first = firstSize) {
    this.#limits = limits
    this.#size = Math.min(first, limits.maxMessages)
  }

  get messages(): number {
    return this.#size
  }

  /** The batch after this one has no more. */
  get next(): number {
    return Math.min(2 * this.#size, this.#limits.maxMessages)
  }

  get bytes(): number {
    return this.#limits.maxBytes
  }

  /** A batch of so many handled messages took so long. */
  took(messages: number, ms: number): void {
    if (messages === 0) return
    const speed = ms / messages
    this.#msPerMessage = this.#msPerMessage === null ? speed : (this.#msPerMessage + speed) / 2
    const fitting = Math.floor(this.#limits.targetMs / Math.max(this.#msPerMessage, 1e-6))
    this.#size = Math.max(1, Math.min(fitting, this.#size * 2, this.#limits.maxMessages))
  }

  /** A batch of so many failed by no fault of a message: a smaller one meets less. */
  shrink(messages: number): void {
    this.#size = Math.max(1, Math.floor(messages / 2))
  }
}
