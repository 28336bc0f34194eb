import { expect, test } from 'vitest'
import { Slots } from './slots.ts'

function taken(slots: Slots): number {
  let count = 0
  while (slots.take()) count += 1
  for (let i = 0; i < count; i++) slots.giveBack('idle')
  return count
}

test('no more transactions run at once than allowed', () => {
  expect(taken(new Slots(4))).toBe(4)
})

test('after a deadlock they run one at a time, and come back one by one when all is calm', () => {
  const slots = new Slots(3)
  slots.take()
  slots.giveBack('conflict')
  expect(taken(slots)).toBe(1)
  const calm = (batches: number): void => {
    for (let i = 0; i < batches; i++) {
      slots.take()
      slots.giveBack('calm')
    }
  }
  calm(49)
  expect(taken(slots)).toBe(1)
  calm(1)
  expect(taken(slots)).toBe(2)
  calm(100)
  expect(taken(slots)).toBe(3)
})
