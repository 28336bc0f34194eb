import { expect, test } from 'vitest'
import { type InboxRing, rememberedSince } from './ring.ts'

const unknown: InboxRing['began'] = [null, null, null, null]

function turned(ring: InboxRing, at: number): InboxRing {
  const current = (ring.current + 1) % 4
  return { current, since: at, hasTurned: true, began: ring.began.map((begun, table) => (table === current ? at : begun)) }
}

test('nothing is forgotten before the ring has turned', () => {
  expect(rememberedSince({ current: 0, since: 100, hasTurned: false, began: [100, null, null, null] })).toBe(null)
})

test('what is written before the oldest of the tables is forgotten, and never less than three turns are remembered', () => {
  let ring: InboxRing = { current: 0, since: 0, hasTurned: false, began: [0, null, null, null] }
  const turnMs = 10
  for (let n = 1; n <= 20; n++) {
    const at = n * turnMs
    // Just before the turn empties the oldest table, and just after.
    const before = rememberedSince(ring)
    if (before !== null) expect(at - before).toBeGreaterThanOrEqual(Math.min(at, 4 * turnMs))
    ring = turned(ring, at)
    const after = rememberedSince(ring)!
    expect(at - after).toBe(Math.min(at, 3 * turnMs))
  }
})

test('turns that came late are counted as they came', () => {
  let ring: InboxRing = { current: 0, since: 0, hasTurned: false, began: [0, null, null, null] }
  for (const at of [10, 500, 510, 520, 530]) ring = turned(ring, at)
  expect(rememberedSince(ring)).toBe(500)
})

test('tables whose beginning is not known count for nothing', () => {
  expect(rememberedSince({ current: 2, since: 50, hasTurned: true, began: unknown })).toBe(50)
  expect(rememberedSince({ current: 2, since: 50, hasTurned: true, began: [30, 40, 20, null] })).toBe(50)
  expect(rememberedSince({ current: 2, since: 50, hasTurned: true, began: [30, null, 50, 10] })).toBe(50)
  expect(rememberedSince({ current: 2, since: 50, hasTurned: true, began: [30, 40, 50, 60] })).toBe(30)
})
