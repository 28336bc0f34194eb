import { mostCrashes } from '../batch/crashed.ts'
import type { LeasedKey } from '../parked-port.ts'

/** Its head has ended as many processes as it may, and is not run any more. */
export function isGivenUp(key: LeasedKey): boolean {
  return crashesAlone(key) >= mostCrashes
}

/** It may have ended a process. One that is given up without being tried once more needs no care. */
export function isSuspect(key: LeasedKey): boolean {
  return key.crashes > 0 && !isGivenUp(key)
}

/**
 * Processes that ended while they ran the head alone. The first one is of any message that was under way, in the same transaction or beside it, as in a lane's batch; from
 * then on the head runs alone, and no other suspect beside it.
 */
function crashesAlone({ crashes }: LeasedKey): number {
  return Math.max(0, crashes - 1)
}
