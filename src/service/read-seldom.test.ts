import { expect, test } from 'vitest'
import { ReadSeldom } from './read-seldom.ts'

test('what took long is read again after a hundred times as long, each name by itself', async () => {
  let now = 0
  const seldom = new ReadSeldom<number>(() => now)
  const taking = (ms: number, value: number) => async (): Promise<number> => {
    now += ms
    return value
  }
  expect(await seldom.read('large', taking(200, 1))).toBe(1)
  expect(await seldom.read('small', taking(1, 1))).toBe(1)
  expect(await seldom.read('small', taking(1, 2))).toBe(2)
  now += 200
  expect(await seldom.read('large', taking(200, 2))).toBe(1)
  now += 20_000
  expect(await seldom.read('large', taking(200, 3))).toBe(3)
})
