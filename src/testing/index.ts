/**
 * What tests need: the simulation, which runs relay and consumer through schedules of faults in virtual time.
 *
 * ```ts
 * import { simulate } from 'tidemark/testing'
 *
 * const { violation, trace } = await simulate(42)
 * if (violation !== null) console.log(violation, trace.join('\n'))
 * ```
 *
 * @module
 */
export { simulate, type SimulationOptions, type SimulationResult } from './simulation/simulate.ts'
export { type FaultPlan } from './simulation/fault-plan.ts'
