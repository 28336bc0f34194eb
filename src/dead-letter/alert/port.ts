import type { AlertState } from './alert-machine.ts'

/**
 * What alerts need of the service's database: whom letters concern, what was said already, and who says it.
 *
 * @module
 */

/** Whom the letters of a consumer group concern. */
export interface Contact {
  readonly group: string
  readonly owner: string | null
  /** Where it is written what to do. */
  readonly runbook: string | null
}

export interface AlertStore {
  /** Notes contacts; those of other groups stay. */
  noteContacts(contacts: readonly Contact[]): Promise<void>
  contacts(): Promise<readonly Contact[]>

  /**
   * Takes the watch, or keeps it, for `leaseMs` by the database's clock. `false`: somebody else has it, or has kept it for less than that without being
   * heard of.
   */
  watch(holder: string, leaseMs: number): Promise<boolean>
  /** Gives the watch back, for others to take at once. */
  endWatch(holder: string): Promise<void>

  /** What was said so far, by group. */
  alerts(): Promise<ReadonlyMap<string, AlertState>>
  /** `null`: nothing is open any more. `false`: the watch is not the holder's, and nothing was stored. */
  saveAlert(holder: string, group: string, state: AlertState | null): Promise<boolean>
}
