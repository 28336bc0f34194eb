/**
 * Kafka's Java client writes snappy in the frames of xerial's `SnappyOutputStream`, librdkafka as one plain block. Both are read; we write frames, which
 * every client reads and which Java can read piece by piece. The compression itself, of one block, is handed in.
 *
 * The format: magic, version, oldest version that can read it (each an int32), then blocks, each behind its length as an int32.
 */

type Block = (bytes: Buffer) => Buffer

const magic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0])
const head = Buffer.concat([magic, Buffer.from([0, 0, 0, 1, 0, 0, 0, 1])])

/** Snappy itself looks back no further than this, so that larger blocks compress no better. */
const blockSize = 65_536

export function snappyFramed(bytes: Buffer, compress: Block): Buffer {
  const parts: Buffer[] = [head]
  for (let at = 0; at < bytes.length; at += blockSize) {
    const block = compress(bytes.subarray(at, at + blockSize))
    const length = Buffer.allocUnsafe(4)
    length.writeInt32BE(block.length)
    parts.push(length, block)
  }
  return Buffer.concat(parts)
}

/** Throws a `RangeError` where a block is cut off, and what `decompress` throws. */
export function snappyUnframed(bytes: Buffer, decompress: Block): Buffer {
  if (!bytes.subarray(0, magic.length).equals(magic)) return decompress(bytes)
  const parts: Buffer[] = []
  let at = head.length
  while (at < bytes.length) {
    const length = at + 4 <= bytes.length ? bytes.readInt32BE(at) : -1
    const end = at + 4 + length
    if (length < 0 || end > bytes.length) throw new RangeError('a block of the snappy frame is cut off')
    parts.push(decompress(bytes.subarray(at + 4, end)))
    at = end
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
}
