import { Writer } from '@platformatic/kafka'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { RecordCursor } from './record-cursor.ts'

const max32 = 2_147_483_647
const edges32 = [0, -1, 1, -64, 63, 64, -65, 8_191, 8_192, -8_193, 1_048_576, 134_217_727, -134_217_729, max32, -max32 - 1]

test.each(edges32)('reads %i', (value) => {
  const cursor = new RecordCursor(Writer.create().appendVarInt(value).buffer)
  expect(cursor.varint()).toBe(value)
  expect(cursor.position).toBe(cursor.bytes.length)
})

test('reads every number of 32 bits as the client writes it', () => {
  fc.assert(
    fc.property(fc.integer(), (value) => {
      expect(new RecordCursor(Writer.create().appendVarInt(value).buffer).varint()).toBe(value)
      expect(new RecordCursor(Writer.create().appendVarInt64(BigInt(value)).buffer).varlong()).toBe(value)
    }),
  )
})

test.each([0n, -1n, 134_217_727n, 134_217_728n, -134_217_729n, 2n ** 53n - 1n, -(2n ** 53n) + 1n, 2n ** 63n - 1n, -(2n ** 63n)])(
  'reads %i of 64 bits, as the nearest number',
  (value) => {
    const cursor = new RecordCursor(varlong(value))
    expect(cursor.varlong()).toBe(Number(value))
    expect(cursor.position).toBe(cursor.bytes.length)
  },
)

test('a number of 32 bits has 5 bytes at most, one of 64 bits 10', () => {
  const endless = Buffer.alloc(20, 0x80)
  expect(() => new RecordCursor(endless).varint()).toThrow('more than 5 bytes')
  expect(() => new RecordCursor(endless).varlong()).toThrow('more than 10 bytes')
})

test.each([[[]], [[0x80]], [[0xff, 0xff, 0xff, 0xff]], [[0x80, 0x80, 0x80, 0x80, 0x80, 0x80]]])(
  'a number that is cut off is damage: %j',
  (bytes) => {
    expect(() => new RecordCursor(Buffer.from(bytes)).varlong()).toThrow('cut off')
    expect(() => new RecordCursor(Buffer.from(bytes.slice(0, 4))).varint()).toThrow('cut off')
  },
)

test('nothing is read beyond the end that was given', () => {
  const cursor = new RecordCursor(Buffer.from([6, 1, 2, 3, 4]))
  expect(() => cursor.nullable(3)).toThrow('a length is 3, where 2 bytes are left')
  expect(new RecordCursor(Buffer.from([6, 1, 2, 3, 4])).nullable(4)).toEqual(Buffer.from([1, 2, 3]))
})

test('a length below zero is damage where there must be one', () => {
  expect(() => new RecordCursor(Buffer.alloc(5)).skip(-1, 5)).toThrow('a length is -1')
})

/** The client's own writer is wrong beyond 2^53. */
function varlong(value: bigint): Buffer {
  let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
  const bytes: number[] = []
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  return Buffer.from([...bytes, Number(rest)])
}
