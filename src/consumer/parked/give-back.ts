import { backoffMs } from '../../internal/backoff.ts'
import { pause } from '../../internal/clock.ts'
import type { BatchSettings } from '../batch/batch-settings.ts'
import type { LeasedKey } from '../parked-port.ts'
import type { RetrySurroundings } from './run-retry.ts'

/** Between two tries. */
const betweenMs = { firstMs: 50, maxMs: 2_000 }

/** Gives keys back, due after so long: until the database says so, since a lease that runs out counts as a crash. Never rejects. */
export async function giveBack(
  keys: readonly LeasedKey[],
  how: 'tried' | 'untried',
  afterMs: number,
  { store, clock }: Pick<BatchSettings, 'store' | 'clock'>,
  { leaving, trouble }: Pick<RetrySurroundings, 'leaving' | 'trouble'>,
): Promise<void> {
  if (keys.length === 0) return
  for (let tries = 1; ; tries++) {
    try {
      return await store.parked.giveBack(keys, how, afterMs)
    } catch (error) {
      trouble(error)
      if (leaving.aborted) return
      await pause(clock, backoffMs(betweenMs, tries, clock.random()), leaving)
    }
  }
}
