import type { KeyHolds } from '../../consumer/hold/port.ts'
import type { Chance } from './chance.ts'
import { Changed } from './events.ts'
import type { Ledger } from './ledger.ts'
import type { Surroundings } from './surroundings.ts'

/** People who hold keys of things for a while, and release them. One at a time is at a key. */
export class KeyHolders {
  readonly #world: Surroundings
  readonly #ledger: Ledger
  readonly #holds: KeyHolds
  readonly #chance: Chance
  readonly #held = new Set<string>()
  readonly #busy = new Set<string>()

  constructor({ world, ledger, holds, chance }: { world: Surroundings; ledger: Ledger; holds: KeyHolds; chance: Chance }) {
    this.#world = world
    this.#ledger = ledger
    this.#holds = holds
    this.#chance = chance
  }

  /** Nothing is held, or about to be. */
  get isIdle(): boolean {
    return this.#held.size + this.#busy.size === 0
  }

  /** Holds some key, or releases it. */
  async act(): Promise<void> {
    const key = `k${this.#chance.whole(0, 5)}`
    if (this.#busy.has(key)) return
    await (this.#held.has(key) ? this.#release(key) : this.#hold(key))
  }

  async releaseAll(): Promise<void> {
    await Promise.all([...this.#held].filter((key) => !this.#busy.has(key)).map((key) => this.#release(key)))
  }

  #hold(key: string): Promise<void> {
    return this.#at(key, async () => {
      if ((await this.#holds.hold(placeOf(key), { by: 'operator', reason: null, audit: [] })) === null) return
      this.#world.trace.note('operator', `holds ${key}`)
      this.#held.add(key)
      this.#ledger.held(`${Changed.aggregate}/${key}`)
    })
  }

  #release(key: string): Promise<void> {
    return this.#at(key, async () => {
      // What takes effect from here on may be later than the release.
      this.#ledger.released(`${Changed.aggregate}/${key}`)
      await this.#holds.release(placeOf(key), { audit: [] })
      this.#world.trace.note('operator', `has released ${key}`)
      this.#held.delete(key)
    })
  }

  /** A lost connection leaves it as it was; somebody comes back to it. */
  async #at(key: string, work: () => Promise<void>): Promise<void> {
    this.#busy.add(key)
    await work().catch(() => undefined)
    this.#busy.delete(key)
  }
}

function placeOf(key: string): Parameters<KeyHolds['hold']>[0] {
  return { group: 'readers', topic: Changed.topic, key: Buffer.from(key) }
}
