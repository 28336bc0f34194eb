import { TidemarkError } from '../errors.ts'
import type { Transaction } from '../message/transaction.ts'
import type { FrozenItem, Item, ItemResult, Operation, Params, Plan } from './operation.ts'

/** What a step is told. */
export interface StepContext {
  readonly operation: Operation
  /** Aborts when the operation is paused, cancelled or taken by another process: what the step does from then on does not count. */
  readonly signal: AbortSignal
}

interface Common {
  /** As stored: `redrive`. Processes that know the name can go on with the operation. */
  readonly name: string
  /** What `authorize` is asked, and the audit log says, when one is planned or confirmed. @default `operation.<name>` */
  readonly verb?: string
  /** Checks the params, counts and looks. Changes nothing. Rejects with `INPUT_INVALID` for params that it does not take. */
  plan(params: Params): Promise<Plan>
  /**
   * All items, in pages, in the order in which they are to be done; items of one group one after the other. It should be the set as it is at one
   * moment. Begun anew from the start when the process dies meanwhile.
   */
  freeze(operation: Operation): AsyncIterable<readonly FrozenItem[]>
  /** How items that were `started` have ended. Leaves out those that nobody knows yet. Asked again and again; changes nothing. */
  look?(items: readonly Item[], context: StepContext): Promise<readonly ItemResult[]>
  /** Items that one step takes, unless a group is larger. @default 100 */
  readonly stepItems?: number
}

/** The effect and its result commit together: each item is done exactly once. */
export interface TransactionalKind extends Common {
  readonly effect: 'transaction'
  /** A result for each item. What it throws rolls back, and charges these items. Everything it changes must go through `tx`. */
  step(items: readonly Item[], context: StepContext, tx: Transaction): Promise<readonly ItemResult[]>
}

/** The effect is committed by itself. */
export interface IdempotentKind extends Common {
  readonly effect: 'idempotent'
  /** A result for each item. May be called again with items that it has done before, by this process or another: nothing may happen twice then. */
  step(items: readonly Item[], context: StepContext): Promise<readonly ItemResult[]>
}

/** A sort of long work that can be planned, frozen, run, watched and gone on with by another process. Keeps no state of its own. */
export type OperationKind = TransactionalKind | IdempotentKind

/** Throws `CONFIG_INVALID` when two have one name: what is stored by that name would be worked on by either. */
export function checkKinds(kinds: readonly OperationKind[]): void {
  const names = kinds.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw new TidemarkError('CONFIG_INVALID', `Two kinds of operations have the name "${twice}".`)
}
