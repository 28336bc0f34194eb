import type { Clock } from '../../internal/clock.ts'
import type { Chance } from './chance.ts'

interface Event {
  readonly at: number
  /** Decides among events of the same moment. */
  readonly tie: number
  readonly number: number
  run: (() => void) | null
}

/** Wall time at the beginning of every simulation. */
const epochMs = Date.UTC(2026, 0, 1)

/**
 * Virtual time, and everything that will happen in it. Events run one after the other, each to the end of what it leads to without waiting; time
 * passes only between them. The order is a function of the seed.
 */
export class Schedule {
  /** The clock of the machines that do not fail: server and log. */
  readonly clock: Clock
  readonly #chance: Chance
  readonly #heap: Event[] = []
  #now = 0
  #events = 0

  constructor(chance: Chance) {
    this.#chance = chance
    this.clock = {
      now: () => epochMs + Math.floor(this.#now),
      elapsed: () => this.#now,
      after: (ms, fn) => this.after(ms, fn),
      random: chance.number,
    }
  }

  /** Milliseconds since the beginning. */
  get now(): number {
    return this.#now
  }

  /** Calls `run` once, when that much time has passed. Returns what takes it back. */
  after(ms: number, run: () => void): () => void {
    this.#events += 1
    const event: Event = { at: this.#now + Math.max(0, ms), tie: this.#chance.number(), number: this.#events, run }
    push(this.#heap, event)
    return () => void (event.run = null)
  }

  /** Lets things happen until `isOver` says so, which is asked between events, or until nothing is left to happen. */
  async run(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const event = pop(this.#heap)
      if (event === undefined) return
      if (event.run === null) continue
      this.#now = event.at
      event.run()
      // Everything that waits for a promise only is done before the runtime comes to this.
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

function isBefore(a: Event, b: Event): boolean {
  return (a.at - b.at || a.tie - b.tie || a.number - b.number) < 0
}

function push(heap: Event[], event: Event): void {
  let at = heap.length
  heap.push(event)
  while (at > 0) {
    const above = (at - 1) >> 1
    if (!isBefore(event, heap[above]!)) break
    heap[at] = heap[above]!
    at = above
  }
  heap[at] = event
}

function pop(heap: Event[]): Event | undefined {
  const first = heap[0]
  const last = heap.pop()
  if (first === undefined || last === undefined || heap.length === 0) return first
  let at = 0
  for (;;) {
    let below = 2 * at + 1
    if (below >= heap.length) break
    if (below + 1 < heap.length && isBefore(heap[below + 1]!, heap[below]!)) below += 1
    if (!isBefore(heap[below]!, last)) break
    heap[at] = heap[below]!
    at = below
  }
  heap[at] = last
  return first
}
