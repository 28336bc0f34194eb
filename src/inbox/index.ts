/**
 * Recognising repeats. Of messages, cheapest first: the position, the high water of in-order streams, and the inbox of handled ids for everything
 * else; the consumer does all of it by itself. Of calls to the outside and of requests that come in: the ledger of idempotency keys.
 *
 * ```ts
 * import { once } from 'tidemark/inbox'
 *
 * billing.consume(OrderPlaced, async (order, { tx, signal }) => {
 *   const charge = await once(billing.ledger, order, 'charge-card', ({ key, signal }) => cards.charge(order.data, key, signal), { signal })
 *   await tx.query('insert into charges values ($1, $2)', [order.data.orderId, charge.id])
 * })
 * ```
 *
 * @module
 */

export { RisingWater, highestOf } from './high-water.ts'
export type { HighWater } from './high-water.ts'
export { idempotent, type IdempotentContext, type IdempotentHandler, type IdempotentOptions } from './http/idempotent.ts'
export { dedupHorizon, isWithinHorizon, requireWithinHorizon } from './horizon.ts'
export type { DedupHorizon, HorizonCheck, HorizonExcess, HorizonInput, ProducedWith } from './horizon.ts'
export { inboxIdentity } from './identity.ts'
export { claimCall, type ClaimOutcome, type ClaimWish } from './claim-call.ts'
export type { HeldClaim } from './held-claim.ts'
export { decide, type LedgerDecision } from './ledger-decision.ts'
export { idempotencyKey, ledgerKey, type MessageIdentity } from './ledger-key.ts'
export { forgetCalls, ledger, type Ledger, type LedgerOptions } from './ledger.ts'
export { once, settleCall, type CallResolution, type OnceOptions, type OutsideCall } from './once.ts'
export type { InboxState, InboxStore } from './port.ts'
export type { LedgerChange, LedgerClaim, LedgerCount, LedgerEntry, LedgerKey, LedgerStore, StoredResponse } from './port.ts'
export { versionOutcome, versionOutcomes } from './version-outcome.ts'
export type { AcceptedVersions, VersionOutcome, VersionResult, VersionRules } from './version-outcome.ts'
export type { CallLimits } from './with-limits.ts'
