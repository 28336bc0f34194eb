import type { LedgerEntry } from './port.ts'

/**
 * What to do about a call, given the entry that is there: the state machine of the ledger.
 *
 * | entry | decision |
 * |---|---|
 * | made just now | `call` |
 * | expired, and nobody at it | `begin anew` |
 * | of another request | `mismatch` |
 * | done | `answer` |
 * | in progress, lease alive | `wait` |
 * | in progress, lease over; or unknown | `unknown` |
 */
export type LedgerDecision = 'call' | 'begin anew' | 'mismatch' | 'answer' | 'wait' | 'unknown'

/** Total, and without side effects. */
export function decide(entry: LedgerEntry, isMade: boolean, fingerprint: string | null): LedgerDecision {
  if (isMade) return 'call'
  const isHeld = entry.state === 'in progress' && entry.leaseLeftMs > 0
  if (entry.isExpired && !isHeld) return 'begin anew'
  if (entry.fingerprint !== null && fingerprint !== null && entry.fingerprint !== fingerprint) return 'mismatch'
  if (entry.state === 'done') return 'answer'
  return isHeld ? 'wait' : 'unknown'
}
