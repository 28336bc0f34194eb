import type { Refusal, SequencedRecord } from '../../../message/port.ts'

/** A record with its place in the page. */
export interface Queued {
  readonly index: number
  readonly record: SequencedRecord
}

/** A batch that was encoded, and may have been sent: until the broker has answered it is sent again as it is, under the same numbers. */
export interface OpenBatch {
  readonly bytes: Buffer
  readonly count: number
  readonly baseSequence: number
}

/** What is to be appended to one partition, in order; one batch at a time. */
export class PartitionQueue {
  readonly topic: string
  readonly partition: number
  open: OpenBatch | null = null
  #records: Queued[] = []
  #from = 0
  /** The broker objected to a batch without saying to which record: until here they go one by one. */
  #singlyUntil = 0

  constructor(topic: string, partition: number) {
    this.topic = topic
    this.partition = partition
  }

  get isEmpty(): boolean {
    return this.#from === this.#records.length
  }

  push(queued: Queued): void {
    this.#records.push(queued)
  }

  /** What the next batch may take from. */
  next(): readonly Queued[] {
    const singly = this.#from < this.#singlyUntil
    return this.#records.slice(this.#from, singly ? this.#from + 1 : this.#records.length)
  }

  /** The open batch is in the log. */
  appended(): void {
    this.#from += this.open!.count
    this.open = null
  }

  /** The broker will not take the open batch as it is: its records are tried one by one. */
  splitOpen(): void {
    this.#singlyUntil = this.#from + this.open!.count
    this.open = null
  }

  /** Leaves the next record out, with those of its key that follow it: they must not stand before it, should it come later. */
  refuseNext(reason: string): Refusal[] {
    this.open = null
    const { index, record } = this.#records[this.#from]!
    const refusals: Refusal[] = [{ index, reason }]
    const rest = this.#records.slice(this.#from + 1)
    const { key } = record
    const kept = rest.filter((one) => {
      if (key === null || one.record.key === null || !one.record.key.equals(key)) return true
      refusals.push({ index: one.index, reason: 'an earlier record of its key in the same page was refused' })
      return false
    })
    this.#singlyUntil = Math.max(0, this.#singlyUntil - this.#from - 1 - (rest.length - kept.length))
    this.#records = kept
    this.#from = 0
    return refusals
  }
}
