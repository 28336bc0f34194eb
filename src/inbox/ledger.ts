import { type Clock, systemClock } from '../internal/clock.ts'
import type { LedgerStore } from './port.ts'

export interface LedgerOptions {
  readonly store: LedgerStore
  /** Whose calls these are: the consumer group. The same message in another group is another call. */
  readonly scope: string
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
  readonly clock: Clock
}

/** The ledger of a group on a store, for whoever works without a service. */
export function ledger({ store, scope, clock = systemClock }: LedgerOptions): Ledger {
  return { store, scope, clock }
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
