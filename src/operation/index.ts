/**
 * Long-running operations, and who did what. An operation is planned with a count, frozen item by item, run at a rate with a canary and a limit on
 * failures, watched, paused, resumed and cancelled, and gone on with by another process when its own dies.
 *
 * @module
 */
export { allowAll } from './actor.ts'
export type { Actor, AuditDetails, Authorize, Origin, Target } from './actor.ts'
export { Audit } from './audit.ts'
export type { Action, AuditEntry, AuditOptions, AuditRecord } from './audit.ts'
export { eraseKind } from './erase.ts'
export type { ErasableStore, EraseKindOptions, ErasedKey, ErasureCount, ErasureLine } from './erase.ts'
export type { IdempotentKind, OperationKind, StepContext, TransactionalKind } from './kind.ts'
export { defaultSettings, isEnded } from './operation.ts'
export type {
  FrozenItem,
  Item,
  ItemOutcome,
  ItemResult,
  Operation,
  OperationCounts,
  OperationSettings,
  OperationState,
  Params,
  Plan,
} from './operation.ts'
export { Operations } from './operations.ts'
export type { Asked, OperationsOptions, StartOptions, WatchOptions } from './operations.ts'
export { runOperations } from './run-operations.ts'
export type { OperationEvent, OperationRunner, RunOperationsOptions } from './run-operations.ts'
export type { RunOutcome } from './run-operation.ts'
export type {
  AuditFilter,
  AuditStore,
  ClaimRequest,
  ItemFilter,
  NewOperation,
  OperationFilter,
  OperationLease,
  OperationStore,
  OperationWish,
} from './port.ts'
