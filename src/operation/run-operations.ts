import { hostname } from 'node:os'
import { backoffMs } from '../internal/backoff.ts'
import { type Clock, pause, systemClock } from '../internal/clock.ts'
import { uuidv7 } from '../internal/uuid.ts'
import type { Origin } from './actor.ts'
import type { AuditEntry } from './audit.ts'
import { type OperationKind, checkKinds } from './kind.ts'
import type { Operation, OperationCounts } from './operation.ts'
import type { OperationLease, OperationStore } from './port.ts'
import { type RunOutcome, runOperation } from './run-operation.ts'

export interface RunOperationsOptions {
  readonly store: OperationStore
  /** What this process knows to do. */
  readonly kinds: readonly OperationKind[]
  /** This operation alone. @default all of the kinds */
  readonly id?: string
  /**
   * After so long without a word from the process that works on it, another one goes on with an operation. A step that stands still in its transaction
   * for longer is ended. @default 10,000 ms
   */
  readonly leaseMs?: number
  /** Between two looks for work while there is none. @default 1,000 ms */
  readonly idleMs?: number
  /** Operations at once. @default 2 */
  readonly atOnce?: number
  /** Ended operations are removed with their items after so long; what the audit log says of them stays. @default 2,592,000,000 ms (30 days) */
  readonly keepMs?: number
  /** Where an end is said to come from, in the audit log. @default 'api' */
  readonly origin?: Origin
  readonly onEvent?: (event: OperationEvent) => void
  /** @default this process's clock */
  readonly clock?: Clock
}

export type OperationEvent =
  | { readonly kind: 'claimed'; readonly operation: Operation }
  | { readonly kind: 'left'; readonly operation: Operation; readonly outcome: RunOutcome }
  /** Will be tried again. `operation`: it was worked on. */
  | { readonly kind: 'trouble'; readonly operation: Operation | null; readonly error: unknown }

/** Works on operations until stopped. */
export interface OperationRunner extends AsyncDisposable {
  /** An operation was started in this process: look at once. */
  wake(): void
  /** Ends the step under way and gives its operations back, for others to go on with. A second call waits for the first. */
  stop(): Promise<void>
  /** Resolves after `stop`. Never rejects: trouble is told by `onEvent` and tried again. */
  readonly done: Promise<void>
}

/** Between two looks for operations to forget. */
const forgetEveryMs = 3_600_000

const troubleBackoff = { firstMs: 200, maxMs: 10_000 }

/**
 * Takes operations that are free, one process each, and works on them. Any number of processes may run it; whoever dies is followed by another one,
 * which goes on at the first item that is not done.
 */
export function runOperations(options: RunOperationsOptions): OperationRunner {
  return new Runner(options)
}

class Runner implements OperationRunner {
  readonly done: Promise<void>
  readonly #options: RunOperationsOptions
  readonly #clock: Clock
  readonly #name = `${hostname()}/${process.pid}/${uuidv7()}`
  readonly #stop = new AbortController()
  readonly #running = new Map<string, Promise<void>>()
  #sleep = new AbortController()
  #failures = 0
  #forgotAt = Number.NEGATIVE_INFINITY

  constructor(options: RunOperationsOptions) {
    checkKinds(options.kinds)
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.done = this.#loop()
  }

  wake(): void {
    this.#sleep.abort()
  }

  stop(): Promise<void> {
    this.#stop.abort()
    this.wake()
    return this.done
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  async #loop(): Promise<void> {
    const { idleMs = 1_000 } = this.#options
    while (!this.#stop.signal.aborted) {
      this.#sleep = new AbortController()
      const claimed = await this.#claim()
      if (claimed) continue
      const ms = this.#failures === 0 ? idleMs : backoffMs(troubleBackoff, this.#failures, this.#clock.random())
      if (!this.#stop.signal.aborted) await pause(this.#clock, ms, this.#sleep.signal)
    }
    await Promise.all(this.#running.values())
  }

  async #claim(): Promise<boolean> {
    const { store, kinds, id, leaseMs = 10_000, atOnce = 2 } = this.#options
    if (kinds.length === 0 || this.#running.size >= atOnce) return false
    try {
      const request = { runner: this.#name, kinds: kinds.map(({ name }) => name), except: [...this.#running.keys()], leaseMs }
      const lease = await store.claim(id === undefined ? request : { ...request, id })
      this.#failures = 0
      if (lease === null) {
        await this.#forget()
        return false
      }
      this.#running.set(lease.operation.id, this.#work(lease, leaseMs))
      return true
    } catch (error) {
      this.#trouble(null, error)
      return false
    }
  }

  /** While there is nothing else to do. */
  async #forget(): Promise<void> {
    const { store, id, keepMs = 30 * 24 * 3_600_000 } = this.#options
    if (id !== undefined || this.#clock.elapsed() - this.#forgotAt < forgetEveryMs) return
    while (!this.#stop.signal.aborted && (await store.forget(keepMs)));
    this.#forgotAt = this.#clock.elapsed()
  }

  async #work(lease: OperationLease, leaseMs: number): Promise<void> {
    const { kinds, onEvent } = this.#options
    const { operation } = lease
    onEvent?.({ kind: 'claimed', operation })
    const kind = kinds.find(({ name }) => name === operation.kind)!
    const endLine = (as: 'done' | 'failed', counts: OperationCounts): AuditEntry => this.#endLine(operation, as, counts)
    try {
      const outcome = await runOperation({ lease, kind, clock: this.#clock, leaseMs, endLine, stop: this.#stop.signal })
      this.#failures = 0
      onEvent?.({ kind: 'left', operation, outcome })
    } catch (error) {
      this.#trouble(operation, error)
      await pause(this.#clock, backoffMs(troubleBackoff, this.#failures, this.#clock.random()), this.#stop.signal)
    } finally {
      this.#running.delete(operation.id)
      this.wake()
    }
  }

  #trouble(operation: Operation | null, error: unknown): void {
    this.#failures += 1
    this.#options.onEvent?.({ kind: 'trouble', operation, error })
  }

  /** In the name of who started it. */
  #endLine({ id, kind, actor, reason }: Operation, as: 'done' | 'failed', counts: OperationCounts): AuditEntry {
    const { origin = 'api' } = this.#options
    const outcome = as === 'done' ? 'done' : 'failed'
    const target = { type: 'operation', id }
    return { actor, verb: 'operation.end', target, reason, origin, host: hostname(), outcome, details: { kind, ...counts } }
  }
}
