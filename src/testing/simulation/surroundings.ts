import type { Chance } from './chance.ts'
import type { Happening } from './coverage.ts'
import type { FaultPlan } from './fault-plan.ts'
import type { Schedule } from './schedule.ts'
import type { Trace } from './trace.ts'

/** What every part of a simulated world has in common. */
export interface Surroundings {
  readonly chance: Chance
  readonly schedule: Schedule
  readonly trace: Trace
  readonly plan: FaultPlan
  /** Is what the handler of this type needs away? */
  isAway(type: string): boolean
  /** Can the schema of a message not be had now, whichever that is? */
  isSchemaAway(): boolean
  /** Notes that this has happened, for those who want to know what schedules are made of. */
  count(what: Happening): void
  /** Faults happen still. */
  readonly faulty: boolean
}
