import { jsCRC32C } from '@platformatic/kafka'
import { expect, test } from 'vitest'
import { checksumOf } from './checksum.ts'

test('the checksum is CRC-32C', () => {
  expect(checksumOf(Buffer.from('123456789'))).toBe(0xe3069283)
  expect(checksumOf(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43)
  expect(checksumOf(Buffer.alloc(0))).toBe(0)
})

test('it is that of these bytes, and not of the buffer that they are part of', () => {
  const bytes = Buffer.from(Uint8Array.from({ length: 100_000 }, (_, index) => index % 253))
  expect(checksumOf(bytes.subarray(17, 70_001))).toBe(jsCRC32C(bytes.subarray(17, 70_001)))
})
