import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type FaultPlan, type SimulationResult, happenings, shrink, simulate } from '../../src/testing/index.ts'
import { nobodyElseEndsProcesses } from '../../src/testing/simulation/fault-plan.ts'
import { brokenStores, manyTogether } from './broken-stores.ts'

/** Enough to meet every kind of trouble many times, and few enough for every run of the suite. The longer run is `test/simulation/run.ts`. */
const schedules = Number(process.env['TIDEMARK_SIMULATION_SEEDS'] ?? 2_000)
const shares = 20
/** These need several things to come together. */
const rare: readonly string[] = ['discarded', 'lease lost', 'retried together']
/** Lines of a trace that are shown. */
const lastLines = 60

const corpus = JSON.parse(readFileSync(new URL('seeds.json', import.meta.url), 'utf8')) as readonly {
  readonly seed: number
  readonly was: string
  /** It is a schedule of this plan, and changes only with how things happen, not with how often. */
  readonly plan?: Partial<FaultPlan>
}[]

/** How many schedules each has happened in. */
const met = new Map<string, number>(happenings.map((what) => [what, 0]))

async function requireKept(result: SimulationResult): Promise<void> {
  const { seed, violation } = result
  if (violation === null) return
  const { trace, plan } = await shrink(result)
  const again = `npm run simulate -- --from ${seed} --seeds 1 --trace --plan '${JSON.stringify(plan)}'`
  assert.fail(`seed ${seed}: ${violation}\n${trace.slice(-lastLines).join('\n')}\nAll of its ${trace.length} lines: ${again}`)
}

describe('the promises are kept in a schedule that once broke one', () => {
  test.each(corpus)('$seed: $was', async ({ seed, plan }) => requireKept(await simulate(seed, plan === undefined ? {} : { plan })))
})

describe('the promises are kept', () => {
  const share = Math.ceil(schedules / shares)
  for (let place = 0; place < shares; place++) {
    const first = 1 + place * share
    test(`in the schedules ${first} to ${first + share - 1}`, async () => {
      for (let seed = first; seed < first + share; seed++) {
        const result = await simulate(seed)
        for (const what of happenings) if (result.coverage[what] > 0) met.set(what, met.get(what)! + 1)
        await requireKept(result)
      }
    })
  }

  test.each(happenings)('and they are not kept for want of trouble: %s', (what) => {
    expect(met.get(what)).toBeGreaterThanOrEqual(schedules * (rare.includes(what) ? 0.005 : 0.03))
  })
})

test('the promises are kept where keys are held and released, too: nothing of them takes effect meanwhile', async () => {
  let held = 0
  for (let seed = 1; seed <= 60; seed++) {
    const result = await simulate(seed, { plan: { holds: 3 } })
    if (result.trace.some((line) => line.includes('holds k'))) held += 1
    await requireKept(result)
  }
  expect(held).toBeGreaterThan(40)
})

test.each([
  ['are tried again', manyTogether],
  ['end their process', { ...manyTogether, ...nobodyElseEndsProcesses, deadly: 0.03 }],
])('the promises are kept where keys share transactions, and many of them %s', async (_, plan) => {
  let together = 0
  for (let seed = 1; seed <= 60; seed++) {
    const result = await simulate(seed, { plan })
    together += result.coverage['retried together']
    await requireKept(result)
  }
  expect(together).toBeGreaterThan(10)
})

test('a schedule that breaks a promise is shrunk to one with less trouble, which breaks one, too', async () => {
  const broken = brokenStores.find(({ without }) => without === 'the high water')!.broken
  let failed = await simulate(1, { broken })
  for (let seed = 2; failed.violation === null; seed++) failed = await simulate(seed, { broken })
  const least = await shrink(failed, { broken })
  expect(least.violation).not.toBeNull()
  expect(sizeOf(least.plan)).toBeLessThan(sizeOf(failed.plan))
  expect((await simulate(least.seed, { broken, plan: least.plan })).hash).toBe(least.hash)
})

test('a seed is a schedule: the same again does the same, another one something else', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const [first, second, other] = [await simulate(seed), await simulate(seed), await simulate(seed + 1000)]
    assert.deepEqual(second, first)
    assert.notEqual(other.hash, first.hash)
  }
})

/** How many kinds of trouble there are, and how much traffic. */
function sizeOf(plan: FaultPlan): number {
  return Object.values(plan).filter((rate) => rate > 0).length + plan.processes + plan.transactions + plan.strangers
}

describe('the simulation finds a store', () => {
  test.each(brokenStores)('without $without', async ({ broken, plan = {}, within }) => {
    for (let seed = 1; seed <= within; seed++) if ((await simulate(seed, { broken, plan })).violation !== null) return
    expect.fail(`not found in ${within} schedules`)
  })
})
