import { expect, test } from 'vitest'
import { median, percentile } from './statistics.ts'

test('the median of an odd number of values is the middle one, of an even number the mean of the middle two', () => {
  expect(median([9, 1, 5])).toBe(5)
  expect(median([4, 1, 3, 2])).toBe(2.5)
})

test('a percentile is one of the values, and no more than its share lies below it', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index)
  expect(percentile(hundred, 0.5)).toBe(50)
  expect(percentile(hundred, 0.99)).toBe(99)
  expect(percentile([7], 0.99)).toBe(7)
})

test('numbers are ordered as numbers, not as text', () => {
  expect(percentile([10, 9, 100], 1)).toBe(100)
})
