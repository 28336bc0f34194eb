import assert from 'node:assert/strict'
import { describe, expect, test } from 'vitest'
import { simulateGroup } from './group-simulation/simulate-group.ts'

const seeds = Number(process.env['TIDEMARK_GROUP_SEEDS'] ?? 300)

describe.each(['classic', 'consumer'] as const)('by the protocol %s', (protocol) => {
  test('whatever members do and suffer, no partition has two readers, and in the end all are shared evenly', () => {
    let assigned = 0
    for (let seed = 1; seed <= seeds; seed++) {
      const run = simulateGroup(protocol, seed)
      assigned += run.assigned
      if (run.violation !== null)
        assert.fail(`seed ${seed}: ${run.violation}\n${simulateGroup(protocol, seed, true).trace.slice(-120).join('\n')}`)
    }
    expect(assigned).toBeGreaterThan(seeds * 10)
  })

  test('a seed is a schedule', () => {
    expect(simulateGroup(protocol, 7, true)).toEqual(simulateGroup(protocol, 7, true))
    expect(simulateGroup(protocol, 7, true).trace).not.toEqual(simulateGroup(protocol, 8, true).trace)
  })
})
