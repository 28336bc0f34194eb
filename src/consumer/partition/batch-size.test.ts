import { expect, test } from 'vitest'
import { BatchSize, defaultBatchLimits } from './batch-size.ts'

test('a batch grows to the maximum while handlers are fast', () => {
  const size = new BatchSize(defaultBatchLimits)
  const sizes = Array.from({ length: 6 }, () => {
    size.took(size.messages, size.messages * 0.02)
    return size.messages
  })
  expect(sizes).toEqual([128, 256, 512, 1_000, 1_000, 1_000])
})

test('a batch of slow messages shrinks to what fits the time', () => {
  const size = new BatchSize(defaultBatchLimits)
  for (let i = 0; i < 8; i++) size.took(size.messages, size.messages * 10)
  expect(size.messages).toBe(20)
})

test('there is always one message, however slow', () => {
  const size = new BatchSize(defaultBatchLimits)
  for (let i = 0; i < 8; i++) size.took(1, 60_000)
  expect(size.messages).toBe(1)
  size.shrink(1)
  expect(size.messages).toBe(1)
})
