/** As a fetch reply lists it: the producer, and the offset at which the transaction began that it aborted. */
export interface AbortedTransaction {
  readonly producerId: bigint
  readonly firstOffset: bigint
}

/**
 * Tells the batches of aborted transactions from the others, as Kafka's consumer does for `read_committed`: the batches of a producer are aborted from
 * the first offset listed for it to the abort marker that it wrote. Batches are shown in the order of the log, markers included.
 */
export class AbortedTransactions {
  readonly #waiting: readonly AbortedTransaction[]
  readonly #aborting = new Set<bigint>()
  #next = 0

  constructor(listed: readonly AbortedTransaction[]) {
    this.#waiting = listed.toSorted((a, b) => (a.firstOffset < b.firstOffset ? -1 : a.firstOffset > b.firstOffset ? 1 : 0))
  }

  /** Is this batch of records, written in a transaction, of one that was aborted? */
  covers(producerId: bigint, lastOffset: number): boolean {
    this.#beginUpTo(lastOffset)
    return this.#aborting.has(producerId)
  }

  /** The producer's abort marker: what it writes from here on belongs to its next transaction. */
  end(producerId: bigint, lastOffset: number): void {
    this.#beginUpTo(lastOffset)
    this.#aborting.delete(producerId)
  }

  #beginUpTo(offset: number): void {
    for (; this.#next < this.#waiting.length; this.#next++) {
      const { producerId, firstOffset } = this.#waiting[this.#next]!
      if (firstOffset > offset) return
      this.#aborting.add(producerId)
    }
  }
}
