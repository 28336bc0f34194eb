import type { Actor } from './actor.ts'

/**
 * `planned`: counted, and nothing more. `freezing`: its items are being written down. `running`: they are worked on. `paused`: until somebody resumes it.
 * `failed`: stopped by itself; it can be resumed. `done` and `cancelled` are for good.
 */
export type OperationState = 'planned' | 'freezing' | 'running' | 'paused' | 'done' | 'failed' | 'cancelled'

/** Any JSON object. */
export type Params = Readonly<Record<string, unknown>>

/** How fast, and when to stop. Stored with the operation. */
export interface OperationSettings {
  /** Items per second; `null`: as fast as it goes. @default null */
  readonly rate: number | null
  /** Shares of the items, rising, the last one 1. After each the failure ratio decides whether it goes on. @default [0.01, 0.05, 0.2, 1] */
  readonly canary: readonly number[]
  /** Stop when a larger share than this of what was tried has failed: 0 stops at the first failure, 1 never. @default 0.2 */
  readonly maxFailures: number
  /** How long a stage waits, in milliseconds, to see how its items end, where that is known only later. @default 60,000 */
  readonly observeMs: number
}

export const defaultSettings: OperationSettings = { rate: null, canary: [0.01, 0.05, 0.2, 1], maxFailures: 0.2, observeMs: 60_000 }

/** How many items ended how. */
export interface OperationCounts {
  readonly done: number
  readonly failed: number
  /** Left alone, each with a reason. */
  readonly skipped: number
  /** Set going; how they end is not known yet. */
  readonly started: number
}

/** What a look before anything is changed has found. */
export interface Plan {
  /** About how many items. What is frozen later decides. */
  readonly count: number
  /** As they are to be kept: checked, and with what the plan has settled. @default as given */
  readonly params?: Params
  /** Facts for whoever decides: oldest, newest, keys, problems. JSON, without payloads. */
  readonly summary: Params
}

/** An operation as it is stored. */
export interface Operation {
  readonly id: string
  readonly kind: string
  readonly params: Params
  readonly settings: OperationSettings
  readonly planned: { readonly count: number; readonly summary: Params }
  readonly state: OperationState
  /** Its set of items is complete. */
  readonly frozen: boolean
  readonly total: number
  /** Items below this place have an outcome. */
  readonly next: number
  readonly counts: OperationCounts
  /** What was tried and had failed when it was last resumed: its failure ratio counts from there. */
  readonly base: { readonly tried: number; readonly failed: number }
  /** Who planned it, and why. */
  readonly actor: Actor
  readonly reason: string | null
  /** Why it stopped by itself. */
  readonly error: string | null
  /** Which process works on it, while its lease lasts. */
  readonly runner: string | null
  readonly createdAt: Date
  readonly changedAt: Date
  readonly startedAt: Date | null
  readonly endedAt: Date | null
}

/** One thing to do, as frozen. */
export interface FrozenItem {
  /** Items of one group stand together and go into one step; `null`: on its own. */
  readonly group: string | null
  /** What the kind needs to do it: ids and versions, never a payload. Small: 100,000 of them are kept. */
  readonly data: Params
}

/** `started`: its effect has begun, and the kind's `look` will tell how it ended. */
export type ItemOutcome = 'done' | 'failed' | 'skipped' | 'started'

export interface Item extends FrozenItem {
  /** From 0 on, without gaps. */
  readonly place: number
  /** `null`: not tried yet. */
  readonly outcome: ItemOutcome | null
  readonly reason: string | null
  readonly at: Date | null
}

export interface ItemResult {
  readonly place: number
  readonly outcome: ItemOutcome
  /** In words, without payloads. */
  readonly reason?: string | null
}

/** Nothing more happens to it by itself. */
export function isEnded({ state }: Pick<Operation, 'state'>): boolean {
  return state === 'done' || state === 'failed' || state === 'cancelled'
}
