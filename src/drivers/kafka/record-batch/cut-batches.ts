import { type RecordContent, batchOverhead, recordSizeInBatch } from './record-size.ts'

/** Records `start` to before `end`, which go into one batch. */
export interface BatchRange {
  readonly start: number
  readonly end: number
}

export interface BatchCut {
  /** In order; every record that is not too large is in exactly one. */
  readonly ranges: readonly BatchRange[]
  /** Records, by index, of which a batch of their own would be over the limit. */
  readonly tooLarge: readonly number[]
}

/**
 * Cuts records of one partition into batches of at most `maxBatchBytes` as the broker counts them against `max.message.bytes`: the whole batch, head
 * included. Each batch takes as many records as fit. Measured uncompressed, so that a batch is within the limit however badly it compresses.
 */
export function cutBatches(records: readonly RecordContent[], maxBatchBytes: number): BatchCut {
  const ranges: BatchRange[] = []
  const tooLarge: number[] = []
  let start = 0
  let bytes = batchOverhead
  const cutAt = (end: number, next: number): void => {
    if (end > start) ranges.push({ start, end })
    start = next
    bytes = batchOverhead
  }
  for (const [index, record] of records.entries()) {
    let size = recordSizeInBatch(record, index - start)
    if (bytes + size > maxBatchBytes && index > start) {
      cutAt(index, index)
      size = recordSizeInBatch(record, 0)
    }
    if (bytes + size > maxBatchBytes) {
      tooLarge.push(index)
      cutAt(index, index + 1)
    } else bytes += size
  }
  cutAt(records.length, records.length)
  return { ranges, tooLarge }
}
