import { TidemarkError } from '../../../errors.ts'
import { damaged, unreadable } from './batch-error.ts'
import { attribute, field, headSize } from './batch-format.ts'
import type { BatchHead } from './batch-head.ts'
import { checksumOf } from './checksum.ts'
import { compressionOf, decompress, isAvailable, zstdRemedy } from './compression.ts'

/** @throws TidemarkError `BROKER_BATCH_CORRUPT` where the batch is not what its checksum was made of. */
export function verifyChecksum(batch: Buffer, { place }: BatchHead): void {
  const expected = batch.readUInt32BE(field.checksum)
  const found = checksumOf(batch.subarray(field.attributes))
  if (found === expected) return
  throw damaged(place, `its checksum should be ${hexadecimal(expected)}, and its bytes give ${hexadecimal(found)}`)
}

/**
 * Hands the records of a batch, uncompressed and in a buffer of their own, to `read`. What goes wrong then is the producer's doing if the checksum was
 * right (`verified`), and no repeat mends it; else it may be damage.
 */
export function withContent<T>(batch: Buffer, head: BatchHead, verified: boolean, read: (content: Buffer) => T): T {
  try {
    return read(contentOf(batch, head))
  } catch (error) {
    if (TidemarkError.is(error)) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw verified ? unreadable(head.place, `${reason}, under a right checksum`, producerRemedy, error) : damaged(head.place, reason, error)
  }
}

function contentOf(batch: Buffer, { attributes, place }: BatchHead): Buffer {
  const stored = batch.subarray(headSize)
  const code = attributes & attribute.compression
  if (code === 0) return Buffer.from(stored)
  const compression = compressionOf(code)
  if (compression === undefined) throw unreadable(place, `its compression has the number ${code}, which is not known`, 'Update Tidemark.')
  if (!isAvailable(compression)) {
    throw unreadable(place, `it is compressed with ${compression}, which Node ${process.versions.node} lacks`, zstdRemedy)
  }
  return decompress(compression, stored)
}

const producerRemedy = 'Its producer wrote it so: mend the producer, and continue behind the batch.'

function hexadecimal(checksum: number): string {
  return `0x${checksum.toString(16).padStart(8, '0')}`
}
