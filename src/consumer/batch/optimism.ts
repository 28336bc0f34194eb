import type { Handler } from '../handler.ts'
import type { Manner } from './call.ts'

const firstPenalty = 16
const longestPenalty = 4_096

/** For so many batches after a failure that could not be undone by itself a handler's messages are each undoable. */
const carefulBatches = 64

interface Memory {
  /** Batches for which the handler still runs by itself. */
  left: number
  penalty: number
}

/**
 * Remembers which handlers cannot run side by side with others: those that ask for another statement after a later handler has asked for one.
 * They run by themselves for a number of batches, which doubles each time, so that a wrong guess costs next to nothing in the long run.
 */
export class Optimism {
  readonly #records = new Map<Handler, Memory>()
  readonly #careful = new Map<Handler, number>()

  /** How the messages of each handler run in the coming batch. */
  manners(): (handler: Handler) => Manner {
    const manners = new Map<Handler, Manner>()
    return (handler) => {
      const known = manners.get(handler)
      if (known !== undefined) return known
      const isCareful = this.#takesCare(handler)
      const manner = !this.#isExclusive(handler) ? 'beside others' : isCareful ? 'undoable' : 'alone'
      manners.set(handler, manner)
      return manner
    }
  }

  #isExclusive(handler: Handler): boolean {
    const record = this.#records.get(handler)
    if (record === undefined || record.left === 0) return false
    record.left -= 1
    return true
  }

  #takesCare(handler: Handler): boolean {
    const left = this.#careful.get(handler) ?? 0
    if (left > 0) this.#careful.set(handler, left - 1)
    return left > 0
  }

  /** A message of the handler failed after it had done something, and took others along. */
  spoiled(handler: Handler): void {
    this.#careful.set(handler, carefulBatches)
  }

  /** The handler got into the way of others. */
  disappointed(handler: Handler): void {
    const penalty = Math.min(longestPenalty, (this.#records.get(handler)?.penalty ?? firstPenalty / 2) * 2)
    this.#records.set(handler, { left: penalty, penalty })
  }
}
