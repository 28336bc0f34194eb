/**
 * What tests need: a check that a handler is idempotent by nature, and the simulation, which runs relay and consumer through schedules of faults in virtual time.
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
export { handledTwice, type HandledTwiceOptions, type HandledTwiceTarget } from './handled-twice.ts'
export { testMessage } from './test-message.ts'
export { simulate, type SimulationOptions, type SimulationResult } from './simulation/simulate.ts'
export { type FaultPlan } from './simulation/fault-plan.ts'
export { type Coverage, type Happening, happenings } from './simulation/coverage.ts'
export { shrink } from './simulation/shrink.ts'
