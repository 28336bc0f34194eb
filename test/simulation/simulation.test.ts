import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { simulate, type SimulationResult } from '../../src/testing/index.ts'
import { brokenStores } from './broken-stores.ts'

/** Enough to meet every kind of trouble many times, and few enough for every run of the suite. The longer run is `test/simulation/run.ts`. */
const schedules = Number(process.env['TIDEMARK_SIMULATION_SEEDS'] ?? 500)
const shares = 5
/** Lines of a trace that are shown. */
const lastLines = 60

const corpus = JSON.parse(readFileSync(new URL('seeds.json', import.meta.url), 'utf8')) as readonly { seed: number; was: string }[]

function requireKept({ seed, violation, trace }: SimulationResult): void {
  if (violation === null) return
  const again = `node --import tsx --conditions=tidemark-source test/simulation/run.ts --from ${seed} --seeds 1 --trace`
  assert.fail(`seed ${seed}: ${violation}\n${trace.slice(-lastLines).join('\n')}\nAll of its ${trace.length} lines: ${again}`)
}

describe('the promises are kept in a schedule that once broke one', () => {
  test.each(corpus)('$seed: $was', async ({ seed }) => requireKept(await simulate(seed)))
})

describe('the promises are kept', () => {
  const share = Math.ceil(schedules / shares)
  for (let place = 0; place < shares; place++) {
    const first = 1 + place * share
    test(`in the schedules ${first} to ${first + share - 1}`, async () => {
      for (let seed = first; seed < first + share; seed++) requireKept(await simulate(seed))
    })
  }
})

test('a seed is a schedule: the same again does the same, another one something else', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const [first, second, other] = [await simulate(seed), await simulate(seed), await simulate(seed + 1000)]
    assert.deepEqual(second, first)
    assert.notEqual(other.hash, first.hash)
  }
})

describe('the simulation finds a store', () => {
  test.each(brokenStores)('without $without', async ({ broken, within }) => {
    for (let seed = 1; seed <= within; seed++) if ((await simulate(seed, { broken })).violation !== null) return
    expect.fail(`not found in ${within} schedules`)
  })
})
