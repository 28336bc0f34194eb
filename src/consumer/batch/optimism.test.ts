import { expect, test } from 'vitest'
import { z } from 'zod'
import { event } from '../../message/index.ts'
import { onMessage } from '../handler.ts'
import { Optimism } from './optimism.ts'

const handler = onMessage(event('A', { aggregate: 'a', key: () => 'k', schema: z.object({}) }), () => undefined)

function batchesAlone(optimism: Optimism): number {
  let count = 0
  while (optimism.manners()(handler) !== 'beside others') count += 1
  return count
}

test('a handler that got into the way of others runs by itself, twice as long each time', () => {
  const optimism = new Optimism()
  expect(batchesAlone(optimism)).toBe(0)
  const counts = [1, 2, 3].map(() => {
    optimism.disappointed(handler)
    return batchesAlone(optimism)
  })
  expect(counts).toEqual([16, 32, 64])
})
