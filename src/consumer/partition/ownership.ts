import { backoffMs } from '../../internal/backoff.ts'
import type { Moment } from './lane.ts'
import type { PartitionCommand } from './partition-command.ts'

/**
 * `taking` → `owned` → `draining` → `released`; from `owned` back to `taking` when another owner got between although the membership stands.
 */
export type PartitionPhase = 'taking' | 'owned' | 'draining' | 'released'

/**
 * Whose a partition is, as far as this process knows: from its assignment by a take-over to its release, with fences between. Each ownership has
 * a number, which goes with every question to the store: an answer with another number belongs to a former ownership and counts no more.
 */
export class Ownership {
  #phase: PartitionPhase = 'taking'
  #number = 0
  /** Fences and failures in a row, without a batch in between. */
  #setbacks = 0
  /** A take-over is to be asked for again, when time has passed. */
  #again = false

  get phase(): PartitionPhase {
    return this.#phase
  }

  get number(): number {
    return this.#number
  }

  isStale(number: number): boolean {
    return number !== this.#number || this.#phase === 'released'
  }

  takeOver(): PartitionCommand[] {
    return [{ do: 'takeOver', ownership: this.#number }]
  }

  /** Two that both believe to own it must not fence each other for ever. */
  takeOverLater(now: Moment): PartitionCommand[] {
    this.#again = true
    this.#setbacks += 1
    return [{ do: 'wake', afterMs: backoffMs({ firstMs: 20, maxMs: 5_000 }, this.#setbacks, now.random) }]
  }

  /** Time passed: a take-over that waits for it is asked for again. */
  wake(): PartitionCommand[] {
    if (this.#phase !== 'taking' || !this.#again) return []
    this.#again = false
    return this.takeOver()
  }

  taken(): PartitionCommand[] {
    this.#phase = 'owned'
    return [{ do: 'tell', what: 'taken' }]
  }

  /** A batch took effect: nobody is between. */
  confirmed(): void {
    this.#setbacks = 0
  }

  /** Another owner was there. */
  fenced(now: Moment): PartitionCommand[] {
    this.#number += 1
    const told: PartitionCommand = { do: 'tell', what: 'fenced' }
    if (this.#phase === 'draining') return [told, ...this.release()]
    // The membership still stands as far as we know. If it does not, we shall hear of it.
    this.#phase = 'taking'
    return [told, ...this.takeOverLater(now)]
  }

  /** The assignment ends, in order. */
  drain(): void {
    this.#phase = 'draining'
  }

  release(): PartitionCommand[] {
    return this.#end('released')
  }

  /** The assignment is over: nothing in flight counts any more. */
  abandon(): PartitionCommand[] {
    return this.#end('abandoned')
  }

  #end(what: 'released' | 'abandoned'): PartitionCommand[] {
    this.#phase = 'released'
    this.#number += 1
    return [{ do: 'tell', what }]
  }
}
