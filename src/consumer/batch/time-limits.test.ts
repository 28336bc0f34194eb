import { expect, test } from 'vitest'
import { TimeLimits } from './time-limits.ts'

/** Time that a test moves, and the timers that are set. */
function handClock() {
  let now = 0
  const timers = new Set<{ readonly at: number; readonly fn: () => void }>()
  return {
    get timers() {
      return timers.size
    },
    advance(ms: number) {
      const to = now + ms
      for (;;) {
        const [next] = [...timers].filter(({ at }) => at <= to).sort((a, b) => a.at - b.at)
        if (next === undefined) break
        timers.delete(next)
        now = Math.max(now, next.at)
        next.fn()
      }
      now = to
    },
    clock: {
      now: () => now,
      elapsed: () => now,
      random: () => 0,
      after(ms: number, fn: () => void) {
        const timer = { at: now + ms, fn }
        timers.add(timer)
        return () => void timers.delete(timer)
      },
    },
  }
}

function limits() {
  const hand = handClock()
  const late: [string, number][] = []
  return { hand, late, limits: new TimeLimits<string>(hand.clock, (what, ms) => late.push([what, ms])) }
}

test('each has its own limit from its own start, and one timer is for all of them', () => {
  const { hand, late, limits: all } = limits()
  for (let place = 0; place < 10; place++) {
    all.start(place, `call ${place}`, 100)
    hand.advance(60)
    all.end(place)
  }
  expect(late).toEqual([])
  expect(hand.timers).toBe(1)
  all.start(10, 'the slow one', 100)
  hand.advance(99)
  expect(late).toEqual([])
  hand.advance(1)
  expect(late).toEqual([['the slow one', 100]])
})

test('who starts later and may take less is late first', () => {
  const { hand, late, limits: all } = limits()
  all.start(0, 'long', 1_000)
  hand.advance(10)
  all.start(1, 'short', 50)
  hand.advance(5_000)
  expect(late).toEqual([['short', 50]])
  expect(hand.timers).toBe(0)
})

test('nothing is said after the end', () => {
  const { hand, late, limits: all } = limits()
  all.start(0, 'call', 10)
  all.stop()
  all.start(1, 'call', 10)
  hand.advance(100)
  expect([late, hand.timers]).toEqual([[], 0])
})
