import type { ParkedBounds, PartitionRef } from '../../consumer/port.ts'

/** A sum this old is read again, whatever was added: others put back dead letters. */
const validMs = 1_000

/** What waited in a partition when it was summed last, and what this process has added since. */
interface Sum {
  readonly at: number
  bytes: number
}

/**
 * Whether what waits in a partition must be summed before more is added. With very many keys that takes longer than the batch itself, so as long as less
 * than half of the bound is used it is done once a second.
 */
export class ParkedRoom {
  readonly #sums = new Map<string, Sum>()
  readonly #now: () => number

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Is there room for so much more without a look? */
  isAmple(partition: PartitionRef, { bytesPerPartition }: ParkedBounds, more: number): boolean {
    const sum = this.#sums.get(nameOf(partition))
    return sum !== undefined && this.#now() - sum.at < validMs && sum.bytes + more <= bytesPerPartition / 2
  }

  /** A batch has added so much. `summed`: what waits now, where it was read. */
  added(partition: PartitionRef, more: number, summed: number | null): void {
    const name = nameOf(partition)
    if (summed !== null) return void this.#sums.set(name, { at: this.#now(), bytes: summed })
    const sum = this.#sums.get(name)
    if (sum !== undefined) sum.bytes += more
  }
}

function nameOf({ group, topicId, partition }: PartitionRef): string {
  return JSON.stringify([group, topicId, partition])
}
