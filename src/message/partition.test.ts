import { describe, expect, test } from 'vitest'
import { murmur2, partitionOf } from './partition.ts'

// Kafka's own vectors (org.apache.kafka.common.utils.UtilsTest#testMurmur2), the empty key, and one with bytes that are no text.
const vectors: readonly (readonly [Buffer, number])[] = [
  [Buffer.from('21'), -973932308],
  [Buffer.from('foobar'), -790332482],
  [Buffer.from('a-little-bit-long-string'), -985981536],
  [Buffer.from('a-little-bit-longer-string'), -1486304829],
  [Buffer.from('lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8'), -58897971],
  [Buffer.from('abc'), 479470107],
  [Buffer.from([12, 42, 56, 24, 109, 111]), 274204207],
  [Buffer.alloc(0), 275646681],
]

describe('partitions', () => {
  test.each(vectors)('the hash of %o is the one Kafka computes', (key, hash) => {
    expect(murmur2(key)).toBe(hash)
  })

  test('the partition of a key is the positive hash modulo their number, also for a negative hash', () => {
    expect(partitionOf(Buffer.from('foobar'), 10)).toBe(1357151166 % 10)
    expect(partitionOf(Buffer.from('abc'), 7)).toBe(479470107 % 7)
  })
})
