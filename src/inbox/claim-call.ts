import { pause } from '../internal/clock.ts'
import { HeldClaim } from './held-claim.ts'
import type { Ledger } from './ledger.ts'
import { decide } from './ledger-decision.ts'
import type { LedgerClaim, LedgerKey, StoredResponse } from './port.ts'

/** How a call stands once it can be decided. */
export type ClaimOutcome =
  /** It is ours to make. `isRepeat`: it may have been made before, with an outcome that nobody knows. */
  | { readonly outcome: 'held'; readonly claim: HeldClaim; readonly isRepeat: boolean }
  | { readonly outcome: 'answer'; readonly response: StoredResponse }
  /** Another one is at it, and was so for as long as we waited. */
  | { readonly outcome: 'in progress'; readonly leaseLeftMs: number }
  /** It may have been made, and was not to be taken over. */
  | { readonly outcome: 'unknown' }
  | { readonly outcome: 'mismatch' }

export interface ClaimWish extends LedgerClaim {
  /** Take over a call whose outcome nobody knows. */
  readonly takesOver: boolean
  /** Wait so long for another one who is at it. */
  readonly waitMs: number
  readonly signal?: AbortSignal
}

const firstPauseMs = 10
const longestPauseMs = 250

/** Claims a call, or finds out how it stands. Rejects with the reason of the signal, and as the store does. */
export async function claimCall({ store, clock }: Ledger, key: LedgerKey, wish: ClaimWish): Promise<ClaimOutcome> {
  const { fingerprint, leaseMs, takesOver, waitMs, signal } = wish
  const claim: LedgerClaim = { fingerprint, leaseMs, keepMs: wish.keepMs }
  const held = (token: string, isRepeat: boolean): ClaimOutcome => {
    return { outcome: 'held', claim: new HeldClaim({ store, clock, key, token, leaseMs }), isRepeat }
  }
  const deadline = clock.elapsed() + waitMs
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
    signal?.throwIfAborted()
    const { entry, isMade } = await store.begin(key, claim)
    const decision = decide(entry, isMade, fingerprint)
    if (decision === 'call') return held(entry.token, false)
    if (decision === 'answer') return { outcome: 'answer', response: entry.response! }
    if (decision === 'mismatch') return { outcome: 'mismatch' }
    if (decision === 'unknown' && !takesOver) return { outcome: 'unknown' }
    if (decision !== 'wait') {
      const taken = await store.change(key, entry.token, { to: 'in progress', claim })
      if (taken !== null) return held(taken.token, decision === 'unknown')
      // Somebody else was faster: look again.
    } else if (clock.elapsed() >= deadline) {
      return { outcome: 'in progress', leaseLeftMs: entry.leaseLeftMs }
    } else {
      await pause(clock, Math.min(pauseMs, deadline - clock.elapsed()), signal)
    }
  }
}
