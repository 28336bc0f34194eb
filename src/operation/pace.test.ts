import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type OperationSettings, defaultSettings } from './operation.ts'
import { type Pace, decide, leastTried, lookMs, looked, paceOf, stageEnds, stepped, triedOf } from './pace.ts'

const none = { done: 0, failed: 0, skipped: 0, started: 0 }

function pace(settings: Partial<OperationSettings>, total: number, more: Partial<Pace> = {}): Pace {
  const operation = { settings: { ...defaultSettings, ...settings }, total, next: 0, counts: none, base: { tried: 0, failed: 0 } }
  return { ...paceOf(operation, 0), ...more }
}

describe('stages', () => {
  test('end at their share of the items, rounded up, and never twice at the same place', () => {
    expect(stageEnds([0.01, 0.05, 0.2, 1], 1_000)).toEqual([10, 50, 200, 1_000])
    expect(stageEnds([0.01, 0.05, 0.2, 1], 3)).toEqual([1, 3])
    expect(stageEnds([1], 7)).toEqual([7])
  })

  test('an operation without items is done at once', () => {
    expect(decide(pace({}, 0), 0, 100).decision).toEqual({ what: 'end', as: 'done' })
  })

  test('a step stays inside its stage', () => {
    expect(decide(pace({}, 1_000), 0, 100).decision).toEqual({ what: 'step', limit: 10 })
  })

  test('one failure in a first stage of one stops the rest', () => {
    const after = stepped(pace({}, 100), { ...none, failed: 1 })
    expect(decide(after, 0, 100).decision).toMatchObject({ what: 'end', as: 'failed', error: expect.stringContaining('1 of 1') })
  })

  test('a stage whose items are still under way looks for their end, and goes on when it is over or known', () => {
    const after = stepped(pace({ observeMs: 5_000 }, 100), { ...none, started: 1 })
    const first = decide(after, 10, 100)
    expect(first.decision).toEqual({ what: 'look' })
    const unknown = looked(first.pace, { done: 0, failed: 0, skipped: 0 }, 10)
    expect(decide(unknown, 20, 100).decision).toEqual({ what: 'wait', ms: 490 })
    expect(decide(unknown, 5_010, 100).decision).toMatchObject({ what: 'look' })
    expect(decide(looked(unknown, { done: 0, failed: 0, skipped: 0 }, 5_010), 5_011, 100).decision).toEqual({ what: 'step', limit: 4 })
    expect(decide(looked(unknown, { done: 1, failed: 0, skipped: 0 }, 30), 30, 100).decision).toEqual({ what: 'step', limit: 4 })
    expect(decide(looked(unknown, { done: 0, failed: 1, skipped: 0 }, 30), 30, 100).decision).toMatchObject({ as: 'failed' })
  })

  test('what was left alone is no failure and no success', () => {
    const after = stepped(pace({ canary: [1], maxFailures: 0.5 }, 100), { ...none, skipped: 98, failed: 1, done: 1 })
    expect(decide(after, 0, 100).decision).toEqual({ what: 'end', as: 'done' })
  })
})

test('looks at many started items come one after the other at the end of a stage, and leave room for steps in its middle', () => {
  const nothing = { done: 0, failed: 0, skipped: 0 }
  const middle = looked(stepped(pace({ canary: [1] }, 10_000), { ...none, started: 5_000 }), nothing, 100, true)
  expect(decide(middle, 101, 100).decision).toEqual({ what: 'step', limit: 100 })
  expect(decide(middle, 100 + lookMs, 100).decision).toEqual({ what: 'look' })
  const end = looked(stepped(middle, { ...none, started: 5_000 }), nothing, 100, true)
  expect(decide(end, 101, 100).decision).toEqual({ what: 'look' })
})

test('after a resume the ratio counts from there', () => {
  const stood = pace({ canary: [1], maxFailures: 0.1 }, 100, { next: 50, counts: { ...none, failed: 25, done: 25 } })
  expect(decide(stood, 0, 10).decision).toMatchObject({ as: 'failed' })
  expect(decide({ ...stood, base: { tried: 50, failed: 25 } }, 0, 10).decision).toEqual({ what: 'step', limit: 10 })
})

test('a group larger than the rate allows is made up for by waiting', () => {
  const after = stepped(decide(pace({ rate: 10, canary: [1] }, 100), 1_000, 100).pace, { ...none, done: 20 })
  expect(decide(after, 1_000, 100).decision).toEqual({ what: 'wait', ms: 1_900 })
})

test('for any settings, items, outcomes and times: the rate holds, no stage is left while it fails, and it ends with every item tried or a reason', () => {
  const outcome = fc.constantFrom('done', 'failed', 'skipped', 'started' as const)
  const run = fc.record({
    rate: fc.option(fc.double({ min: 0.5, max: 2_000, noNaN: true }), { nil: null }),
    canary: fc.constantFrom([1], [0.01, 0.05, 0.2, 1], [0.5, 1]),
    maxFailures: fc.double({ min: 0, max: 1, noNaN: true }),
    total: fc.integer({ min: 0, max: 300 }),
    stepItems: fc.integer({ min: 1, max: 120 }),
    extra: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 10 }),
    outcomes: fc.array(outcome, { minLength: 1, maxLength: 40 }),
    delays: fc.array(fc.integer({ min: 0, max: 3_000 }), { minLength: 1, maxLength: 10 }),
  })
  fc.assert(
    fc.property(run, ({ total, stepItems, extra, outcomes, delays, ...settings }) => {
      let now = 0
      let current = pace({ ...settings, observeMs: 2_000 }, total)
      const ends = stageEnds(settings.canary, total)
      const most = Math.max(1, (settings.rate ?? 0) / 5) + Math.max(...extra)
      for (let turn = 0; ; turn++) {
        expect(turn).toBeLessThan(20_000)
        const { pace: next, decision } = decide(current, now, stepItems)
        current = next
        if (decision.what === 'end') {
          const tried = triedOf(current.counts)
          const isFailing = current.counts.failed > settings.maxFailures * tried
          expect(decision.as).toBe(isFailing && tried > 0 ? 'failed' : 'done')
          if (decision.as === 'done') expect(current.next).toBeGreaterThanOrEqual(total)
          return
        }
        if (decision.what === 'wait') {
          expect(decision.ms).toBeGreaterThan(0)
          now += decision.ms
        } else if (decision.what === 'look') {
          const ended = Math.min(current.counts.started, turn % 4)
          const how = outcomes[turn % outcomes.length]
          current = looked(current, { done: how === 'failed' ? 0 : ended, failed: how === 'failed' ? ended : 0, skipped: 0 }, now)
        } else {
          expect(decision.limit).toBeGreaterThanOrEqual(1)
          expect(current.next + decision.limit).toBeLessThanOrEqual(ends[current.stage]!)
          if (triedOf(current.counts) >= leastTried) {
            expect(current.counts.failed).toBeLessThanOrEqual(settings.maxFailures * triedOf(current.counts))
          }
          const items = Math.min(decision.limit + extra[turn % extra.length]!, total - current.next)
          const tried = { ...none }
          for (let i = 0; i < items; i++) tried[outcomes[(turn + i) % outcomes.length]!] += 1
          current = stepped(current, tried)
          if (settings.rate !== null) expect(current.next).toBeLessThanOrEqual((now * settings.rate) / 1_000 + most + 1e-6)
          now += delays[turn % delays.length]!
        }
      }
    }),
    { numRuns: 300 },
  )
})
