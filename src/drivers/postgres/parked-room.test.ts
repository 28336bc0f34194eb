import { expect, test } from 'vitest'
import { ParkedRoom } from './parked-room.ts'

const partition = { group: 'g', topic: 't', topicId: 'id', partition: 0 }
const bounds = { bytesPerKey: 100, bytesPerPartition: 1_000 }

test('what waits is summed at first, after a second, and always where half of the bound is used', () => {
  let now = 0
  const room = new ParkedRoom(() => now)
  expect(room.isAmple(partition, bounds, 1)).toBe(false)
  room.added(partition, 10, 100)
  expect(room.isAmple(partition, bounds, 400)).toBe(true)
  expect(room.isAmple(partition, bounds, 401)).toBe(false)
  expect(room.isAmple({ ...partition, partition: 1 }, bounds, 1)).toBe(false)
  room.added(partition, 300, null)
  expect(room.isAmple(partition, bounds, 101)).toBe(false)
  expect(room.isAmple(partition, bounds, 100)).toBe(true)
  now = 1_000
  expect(room.isAmple(partition, bounds, 1)).toBe(false)
})
