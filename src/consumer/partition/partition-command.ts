import type { TidemarkError } from '../../errors.ts'
import type { AdvanceTarget, LanePosition, LogPlace } from '../port.ts'

/** What an owner knows of a lane: the row as it read it, and those of its parked keys that it asks about. */
export interface Since {
  readonly position: LanePosition
  readonly waiting: readonly string[]
}

/**
 * What a partition wants done. Commands with an `ownership` are answered by the method of the same name in the past tense, with that number:
 * answers to a former ownership are ignored.
 */
export type PartitionCommand =
  /** Raise the epochs and read lanes and parked keys. `tookOver`, `takeOverFailed`. */
  | { readonly do: 'takeOver'; readonly ownership: number }
  /** This lane has work: call `order` when a transaction is free. */
  | { readonly do: 'ready'; readonly lane: number }
  /** Read a lane's row, then the parked keys; with `since`, what is new, if that can be told. `caughtUp` or `reloaded`, `reloadFailed`. */
  | { readonly do: 'reload'; readonly ownership: number; readonly lane: number; readonly since: Since | null }
  /** Move idle lanes. `advanced`, `advanceFailed`. */
  | { readonly do: 'advance'; readonly ownership: number; readonly targets: readonly AdvanceTarget[] }
  /** Put other lanes in place of these. `replaced`, `replaceFailed`. */
  | {
      readonly do: 'replaceLanes'
      readonly ownership: number
      readonly from: readonly LanePosition[]
      readonly count: number
      readonly at: LogPlace
    }
  /** These lanes are left in order. Not answered. */
  | { readonly do: 'giveBack'; readonly lanes: readonly { readonly lane: number; readonly epoch: number }[] }
  /** Call `wake` after so long. */
  | { readonly do: 'wake'; readonly afterMs: number }
  /** `fetchFrom` changed. */
  | { readonly do: 'fetch' }
  /** For telemetry and whoever waits: ownership as it went. */
  | { readonly do: 'tell'; readonly what: 'taken' | 'fenced' | 'released' | 'abandoned' }
  /** The consumer must stop: going on would skip or repeat messages silently. */
  | { readonly do: 'fail'; readonly error: TidemarkError }
