import fc from 'fast-check'
import { expect, test } from 'vitest'
import { RisingWater, highestOf } from './high-water.ts'

const coordinate = (tick: number, seq: number, stream = 0, generation = 1, sourceEpoch = 's.1') => ({
  sourceEpoch,
  generation,
  stream,
  tick,
  seq,
})

test('a repeat is at or below the mark, whatever part of the stream is sent again', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(30), fc.nat(30))), (restarts) => {
      const stream = Array.from({ length: 31 }, (_, i) => coordinate(Math.floor(i / 7), i))
      const wire = [stream, ...restarts.map(([from, length]) => stream.slice(from, from + length))].flat()
      const water = new RisingWater({})
      const isNew = (one: (typeof wire)[number]): boolean => {
        if (water.covers(one)) return false
        water.rise(one)
        return true
      }
      expect(wire.filter(isNew)).toEqual(stream)
    }),
  )
})

test('a new tick goes on although its numbers are smaller: long transactions are published late', () => {
  const water = new RisingWater({ 's.1/1/0': [4, 100] })
  expect([coordinate(4, 100), coordinate(4, 99), coordinate(5, 3)].map((one) => water.covers(one))).toEqual([true, true, false])
  water.rise(coordinate(5, 3))
  expect(water.covers(coordinate(4, 101))).toBe(true)
})

test('streams, generations and lives of a source are apart', () => {
  const water = new RisingWater({ 's.1/1/0': [4, 100] })
  for (const other of [coordinate(1, 1, 1), coordinate(1, 1, 0, 2), coordinate(1, 1, 0, 1, 's.2')]) expect(water.covers(other)).toBe(false)
})

test('asking raises nothing: a message that is not taken after all comes again, and is no repeat', () => {
  const water = new RisingWater({})
  expect(water.covers(coordinate(1, 1))).toBe(false)
  expect(water.covers(coordinate(1, 1))).toBe(false)
  expect(water.marks).toEqual({})
})

test('the marks handed in are left as they are', () => {
  const marks = { 's.1/1/0': [4, 100] as const }
  const water = new RisingWater(marks)
  water.rise(coordinate(5, 1))
  expect(marks).toEqual({ 's.1/1/0': [4, 100] })
  expect(water.marks).toEqual({ 's.1/1/0': [5, 1] })
})

test('streams without end do not grow the row without end', () => {
  const water = new RisingWater({})
  for (let generation = 0; generation < 1_000; generation++) water.rise(coordinate(1, 1, 0, generation))
  expect(Object.keys(water.marks)).toHaveLength(256)
  expect(water.marks['s.1/999/0']).toEqual([1, 1])
})

test('new lanes begin at the highest mark of each stream', () => {
  expect(highestOf([{ a: [1, 5], b: [2, 1] }, { a: [1, 7], c: [1, 1] }, {}])).toEqual({ a: [1, 7], b: [2, 1], c: [1, 1] })
})
