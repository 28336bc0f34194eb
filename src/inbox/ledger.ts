import { type Clock, systemClock } from '../internal/clock.ts'
import type { LedgerStore } from './port.ts'

export interface LedgerOptions {
  readonly store: LedgerStore
  /** Whose calls these are: the consumer group. The same message in another group is another call. */
  readonly scope: string
  /** The group of the handler that runs where a call is made, where that may be another one than `scope`. @default none */
  readonly runningGroup?: () => string | undefined
  /** @default this process's clock */
  readonly clock?: Clock
}

/**
 * Where calls to the outside are noted before and after they are made. Hand it to `once`, or to `idempotent` for requests that come in. A service has
 * one: `service.ledger`.
 */
export interface Ledger {
  readonly store: LedgerStore
  readonly scope: string
  readonly runningGroup: () => string | undefined
  readonly clock: Clock
}

/** The ledger of a group on a store: for whoever works without a service, and to settle a call of a group that is not the service's own. */
export function ledger({ store, scope, runningGroup = () => undefined, clock = systemClock }: LedgerOptions): Ledger {
  return { store, scope, runningGroup, clock }
}

/** Whose a call is that is made here and now. Requests that come in are the scope's, whoever hands them on. */
export function scopeOfCall({ scope, runningGroup }: Ledger): string {
  return runningGroup() ?? scope
}

/** Entries removed by one statement. */
const batch = 1_000

/**
 * Removes what has expired, in batches, until nothing is left or `signal` aborts. Returns how many. A running service does so by itself, every
 * minute.
 */
export async function forgetCalls({ store }: Pick<Ledger, 'store'>, signal?: AbortSignal): Promise<number> {
  let forgotten = 0
  while (signal?.aborted !== true) {
    const some = await store.forget(batch)
    forgotten += some
    if (some < batch) break
  }
  return forgotten
}
