import { expect, test } from 'vitest'
import { partitionOf } from '../../message/partition.ts'
import { keyHash, laneOf } from './lane-of.ts'

const keys = Array.from({ length: 8_000 }, (_, i) => Buffer.from(`order-${i}`))

test('the hash of a key never changes: stored positions rest on it', () => {
  expect(['', 'a', 'order-1', 'ü'].map((key) => keyHash(Buffer.from(key)))).toEqual([
    2_872_998_923, 444_641_715, 2_449_496_732, 3_244_136_902,
  ])
})

test('keys of one partition spread over all lanes, also where partitions and lanes are equally many', () => {
  const ofOne = keys.filter((key) => partitionOf(key, 8) === 3)
  const counts = Array.from({ length: 8 }, (_, lane) => ofOne.filter((key) => laneOf(key, 0, 8) === lane).length)
  for (const count of counts) expect(count).toBeGreaterThan(ofOne.length / 16)
})

test('a record without a key goes by its offset', () => {
  expect([0, 1, 2, 3, 4].map((offset) => laneOf(null, offset, 3))).toEqual([0, 1, 2, 0, 1])
})
