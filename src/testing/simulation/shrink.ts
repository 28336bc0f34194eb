import type { FaultPlan } from './fault-plan.ts'
import { type SimulationOptions, type SimulationResult, simulate } from './simulate.ts'

/** The smallest of these that still do something. */
const smallest: Partial<Record<keyof FaultPlan, readonly number[]>> = {
  processes: [1, 2],
  transactions: [1, 2, 4, 8],
  strangers: [0, 1, 2],
  retriers: [1],
}

/**
 * Looks for less trouble that breaks a promise, too, by the same seed: without one kind of fault after the other, with fewer processes and less
 * traffic. Resolves to the result of the smallest mixture found, which `result.plan` tells; at worst it is the one given.
 */
export async function shrink(failed: SimulationResult, options: SimulationOptions = {}): Promise<SimulationResult> {
  let best = failed
  for (let before = null as SimulationResult | null; before !== best;) {
    before = best
    for (const key of Object.keys(best.plan) as (keyof FaultPlan)[]) {
      for (const value of lesser(best.plan, key)) {
        const found = await simulate(failed.seed, { ...options, plan: { ...best.plan, [key]: value } })
        if (found.violation === null) continue
        best = found
        break
      }
    }
  }
  return best
}

/** What could stand in the place of this, least first. */
function lesser(plan: FaultPlan, key: keyof FaultPlan): readonly (number | boolean)[] {
  const now = plan[key]
  if (typeof now === 'boolean') return key === 'mendsAll' && now ? [false] : []
  return (smallest[key] ?? [0]).filter((value) => value < now)
}
