import { TidemarkError } from '../../../errors.ts'
import { compressionsAlgorithms } from '../client.ts'
import { snappyFramed, snappyUnframed } from './snappy-framing.ts'

/** How the records of a batch are compressed. */
export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

/** By the number that the attributes of a batch carry. */
const compressions: readonly Compression[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']

export function compressionCode(compression: Compression): number {
  return compressions.indexOf(compression)
}

/** The compression of this number, or `undefined` where Kafka has no such one yet. */
export function compressionOf(code: number): Compression | undefined {
  return compressions[code]
}

/** Can this process read and write it? */
export function isAvailable(compression: Compression): boolean {
  return compressionsAlgorithms[compression].available
}

/** What to do where `zstd` is not available. */
export const zstdRemedy = 'Run Node 22.15 or newer (23.8 or newer of 23), which has zstd, or let the producer use gzip, snappy or lz4.'

/** @throws TidemarkError `CONFIG_INVALID` when this Node cannot write it. Meant for the start: nothing is sent then. */
export function checkCompression(compression: Compression): void {
  if (isAvailable(compression)) return
  throw new TidemarkError('CONFIG_INVALID', `The compression ${compression} is not available in Node ${process.versions.node}.`, {
    remedy: zstdRemedy,
  })
}

/** @throws TidemarkError `CONFIG_INVALID` when this Node cannot write it. */
export function compress(compression: Compression, bytes: Buffer): Buffer {
  checkCompression(compression)
  const { compressSync } = compressionsAlgorithms[compression]
  return compression === 'snappy' ? snappyFramed(bytes, compressSync) : compressSync(bytes)
}

/** The bytes in a buffer of their own. Throws an error of any kind where they are not of this compression. */
export function decompress(compression: Compression, bytes: Buffer): Buffer {
  const { decompressSync } = compressionsAlgorithms[compression]
  return compression === 'snappy' ? snappyUnframed(bytes, decompressSync) : decompressSync(bytes)
}
