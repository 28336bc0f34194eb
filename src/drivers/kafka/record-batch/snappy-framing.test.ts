import { compressionsAlgorithms } from '@platformatic/kafka'
import { expect, test } from 'vitest'
import { snappyFramed, snappyUnframed } from './snappy-framing.ts'

const { compressSync, decompressSync } = compressionsAlgorithms.snappy

test.each([0, 1, 65_535, 65_536, 65_537, 300_000])('%i bytes come out of the frame as they went in', (size) => {
  const bytes = Buffer.from(Uint8Array.from({ length: size }, (_, index) => index % 251))
  expect(snappyUnframed(snappyFramed(bytes, compressSync), decompressSync).equals(bytes)).toBe(true)
})

test('a frame begins with the magic of xerial, version 1', () => {
  const frame = snappyFramed(Buffer.from('text'), compressSync)
  expect(frame.subarray(0, 16).toString('hex')).toBe('82534e41505059000000000100000001')
  expect(frame.readInt32BE(16)).toBe(frame.length - 20)
})

test('a plain block, as librdkafka writes it, is read', () => {
  const bytes = Buffer.from('plain, plain, plain')
  expect(snappyUnframed(compressSync(bytes), decompressSync)).toEqual(bytes)
})

test.each([1, 3, 4, 5])('a frame that lacks its last %i bytes is refused', (missing) => {
  const frame = snappyFramed(Buffer.from('text'), compressSync)
  expect(() => snappyUnframed(frame.subarray(0, frame.length - missing), decompressSync)).toThrow('cut off')
})

test('a length below zero is refused', () => {
  const frame = Buffer.concat([snappyFramed(Buffer.alloc(0), compressSync), Buffer.from([255, 255, 255, 255])])
  expect(() => snappyUnframed(frame, decompressSync)).toThrow('cut off')
})
