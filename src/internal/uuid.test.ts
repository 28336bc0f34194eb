import { expect, test } from 'vitest'
import { uuidv7Generator } from './uuid.ts'

const form = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

function take(count: number, next: () => string): string[] {
  return Array.from({ length: count }, next)
}

function isRising(ids: readonly string[]): boolean {
  return ids.every((id, i) => i === 0 || id > ids[i - 1]!)
}

function msOf(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
}

test('ids have the form of version 7 and carry the millisecond', () => {
  const id = uuidv7Generator({ now: () => 1_645_557_742_000 })()
  expect(id).toMatch(form)
  expect(msOf(id)).toBe(1_645_557_742_000)
})

test('many ids of a real clock rise and differ', () => {
  const ids = take(100_000, uuidv7Generator())
  expect(isRising(ids)).toBe(true)
  expect(ids.every((id) => form.test(id))).toBe(true)
})

test('ids rise while the clock stands still, past the end of the counter', () => {
  const ids = take(20_000, uuidv7Generator({ now: () => 1_000 }))
  expect(isRising(ids)).toBe(true)
  expect(msOf(ids.at(-1)!)).toBeLessThan(1_010)
})

test('ids rise when the clock goes back', () => {
  let ms = 5_000
  const next = uuidv7Generator({ now: () => ms })
  const before = take(10, next)
  ms = 4_000
  const after = take(10, next)
  expect(isRising([...before, ...after])).toBe(true)
})

test('a clock with fractions of a millisecond is fine', () => {
  expect(msOf(uuidv7Generator({ now: () => 1_000.75 })())).toBe(1_000)
})

test('the same time and the same random bytes make the same ids', () => {
  const sources = { now: () => 1_000, fill: (bytes: Uint8Array) => void bytes.fill(0xab) }
  expect(take(200, uuidv7Generator(sources))).toEqual(take(200, uuidv7Generator(sources)))
})

test('two generators do not collide in the same millisecond', () => {
  const now = () => 1_000
  const ids = [...take(5_000, uuidv7Generator({ now })), ...take(5_000, uuidv7Generator({ now }))]
  expect(new Set(ids).size).toBe(ids.length)
})
