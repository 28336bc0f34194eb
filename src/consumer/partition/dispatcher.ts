import type { Clock } from '../../internal/clock.ts'
import type { CircuitBreaker } from '../../retry/circuit-breaker.ts'
import type { BatchOrder, BatchResult } from '../batch/batch-order.ts'
import { Slots } from './slots.ts'
import type { Suspects } from './suspects.ts'

/** A lane that has work, when its turn comes. */
export interface ReadyLane {
  /** Its next message may have made a process end. */
  isSuspect(): boolean
  /** Its next batch, or message. `null`: it has none any more. */
  order(probe: boolean): BatchOrder | null
  /** Says `ended` in any case. */
  run(order: BatchOrder): void
}

interface DispatcherSettings {
  /** Batches at once. */
  readonly most: number
  readonly clock: Clock
  readonly breaker: CircuitBreaker | null
  readonly suspects: Suspects
}

/** Whose turn it is: a bounded number of batches at once, one suspect at a time, and one message at a time while the breaker is open. */
export class Dispatcher {
  readonly #settings: DispatcherSettings
  readonly #slots: Slots
  readonly #ready = new Map<string, ReadyLane>()
  #cancelTurn: (() => void) | null = null

  constructor(settings: DispatcherSettings) {
    this.#settings = settings
    this.#slots = new Slots(settings.most)
  }

  /** A lane of this name has work. Its turn comes with `dispatch`. */
  add(name: string, lane: ReadyLane): void {
    this.#ready.set(name, lane)
  }

  dispatch(): void {
    const { suspects } = this.#settings
    for (const [name, lane] of this.#ready) {
      const permit = this.#permit()
      if (permit === 'none') return
      if (lane.isSuspect() && suspects.isTaken) continue
      if (!this.#slots.take()) return
      this.#ready.delete(name)
      const order = lane.order(permit === 'probe')
      if (order === null) {
        this.#slots.giveBack('idle')
        continue
      }
      if (order.suspect) suspects.take()
      lane.run(order)
    }
  }

  /** A batch is over. */
  ended(order: BatchOrder, { outcome }: BatchResult): void {
    this.#slots.giveBack(outcome === 'conflict' ? 'conflict' : 'calm')
    if (order.suspect) this.#settings.suspects.giveBack()
  }

  /** The breaker has closed, or another suspect may run. */
  goOn(): void {
    this.end()
    this.dispatch()
  }

  /** Nothing is dispatched later by itself. */
  end(): void {
    this.#cancelTurn?.()
    this.#cancelTurn = null
  }

  #permit(): 'all' | 'probe' | 'none' {
    const { breaker, clock } = this.#settings
    if (breaker === null || !breaker.isOpen) return 'all'
    const permit = breaker.permit(clock.elapsed())
    if (permit.allow === 'none') {
      this.#dispatchAt(permit.untilMs)
      return 'none'
    }
    return this.#slots.used > 0 ? 'none' : permit.allow
  }

  #dispatchAt(elapsed: number): void {
    const { clock } = this.#settings
    this.#cancelTurn ??= clock.after(elapsed - clock.elapsed(), () => {
      this.#cancelTurn = null
      this.dispatch()
    })
  }
}
