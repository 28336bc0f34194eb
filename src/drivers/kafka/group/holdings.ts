import { partitionKey } from '../../../message/group/group-state.ts'
import type { AssignedPartition } from '../../../message/port.ts'

/** What the listener is to be told. `drain` comes back with the word that `revoked` has resolved. */
export type Telling =
  | { readonly do: 'assigned' | 'lost'; readonly partitions: readonly AssignedPartition[] }
  | { readonly do: 'revoke'; readonly drain: number; readonly partitions: readonly AssignedPartition[] }

interface Drain {
  readonly number: number
  readonly partitions: Map<string, AssignedPartition>
  readonly until: number
}

/**
 * What a member holds: what its listener was given, and what the listener is draining. One drain at a time; while it runs, nothing is given.
 * Either counts as owned, so nobody else may have it.
 */
export class Holdings {
  readonly #held = new Map<string, AssignedPartition>()
  #drain: Drain | null = null
  #drains = 0

  get isEmpty(): boolean {
    return this.#held.size === 0 && this.#drain === null
  }

  /** When the drain under way is no longer waited for. */
  get drainUntil(): number {
    return this.#drain?.until ?? Infinity
  }

  all(): AssignedPartition[] {
    return [...this.#held.values(), ...(this.#drain?.partitions.values() ?? [])]
  }

  /** One step towards what the group gives: takes what is new, and has drained what must go. Nothing while a drain is under way. */
  moveTo(target: readonly AssignedPartition[], drainUntil: number): Telling[] {
    if (this.#drain !== null) return []
    const wanted = new Set(target.map(partitionKey))
    const gained = target.filter((one) => !this.#held.has(partitionKey(one)))
    const going = [...this.#held].filter(([key]) => !wanted.has(key))
    const tell: Telling[] = []
    if (gained.length > 0) tell.push({ do: 'assigned', partitions: gained })
    for (const one of gained) this.#held.set(partitionKey(one), one)
    if (going.length > 0) {
      for (const [key] of going) this.#held.delete(key)
      this.#drain = { number: (this.#drains += 1), partitions: new Map(going), until: drainUntil }
      tell.push({ do: 'revoke', drain: this.#drains, partitions: going.map(([, one]) => one) })
    }
    return tell
  }

  /** The listener is done with a drain. `false` where that one was given up before. */
  drained(drain: number): boolean {
    if (this.#drain?.number !== drain) return false
    this.#drain = null
    return true
  }

  /** The drain took too long. */
  loseDraining(): Telling[] {
    const draining = this.#drain?.partitions
    return this.lose((one) => draining?.has(partitionKey(one)) === true)
  }

  /** These are gone already; a drain that is about nothing else is not waited for. */
  lose(which: (one: AssignedPartition) => boolean = () => true): Telling[] {
    const gone = this.all().filter(which)
    for (const one of gone) {
      this.#held.delete(partitionKey(one))
      this.#drain?.partitions.delete(partitionKey(one))
    }
    if (this.#drain?.partitions.size === 0) this.#drain = null
    return gone.length === 0 ? [] : [{ do: 'lost', partitions: gone }]
  }
}
