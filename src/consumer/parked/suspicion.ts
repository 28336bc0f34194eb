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
 * Processes that ended while they ran the head alone. A head that never failed is run with what waits behind it, so the first crash of several is of any of them, as in
 * a lane's batch; from then on it runs alone.
 */
function crashesAlone({ attempts, crashes, messages }: LeasedKey): number {
  return attempts === 0 && messages.length > 1 ? Math.max(0, crashes - 1) : crashes
}
