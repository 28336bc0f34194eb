import { expect, test } from 'vitest'
import { deferred } from './deferred.ts'
import { sideBySide } from './side-by-side.ts'

test('each item is worked on once, and no more of them at once than is said', async () => {
  const seen: number[] = []
  let atOnce = 0
  let most = 0
  await sideBySide([1, 2, 3, 4, 5, 6, 7], 3, async (item) => {
    most = Math.max(most, ++atOnce)
    await Promise.resolve()
    seen.push(item)
    atOnce -= 1
  })
  expect([seen, most]).toEqual([[1, 2, 3, 4, 5, 6, 7], 3])
})

test('after a failure nothing more is begun, and what was under way has ended', async () => {
  const begun: number[] = []
  const ended: number[] = []
  const gate = deferred<void>()
  const all = sideBySide([1, 2, 3, 4, 5], 2, async (item) => {
    begun.push(item)
    if (item === 2) throw new Error('the second')
    await gate.promise
    ended.push(item)
  })
  gate.resolve()
  await expect(all).rejects.toThrow('the second')
  expect([begun, ended]).toEqual([[1, 2], [1]])
})
