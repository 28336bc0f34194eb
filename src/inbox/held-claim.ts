import { TidemarkError } from '../errors.ts'
import { type Clock, within } from '../internal/clock.ts'
import type { Transaction } from '../message/transaction.ts'
import type { LedgerKey, LedgerStore, StoredResponse } from './port.ts'

interface ClaimParts {
  readonly store: LedgerStore
  readonly clock: Clock
  readonly key: LedgerKey
  readonly token: string
  readonly leaseMs: number
}

/**
 * An entry that this process works on. Its lease is renewed three times within its length, so that it is over only where the process has ended or
 * stands still.
 */
export class HeldClaim {
  readonly #parts: ClaimParts
  readonly #lost = new AbortController()
  #cancel: () => void = () => undefined
  #aliveUntil: number
  #isHeld = true

  constructor(parts: ClaimParts) {
    this.#parts = parts
    this.#aliveUntil = parts.clock.elapsed() + parts.leaseMs
    this.#schedule()
  }

  /** Aborts when somebody else may have taken the entry over. */
  get lost(): AbortSignal {
    return this.#lost.signal
  }

  /** `false`: somebody else has it by now, and nothing was noted. */
  async done(response: StoredResponse, keepMs: number, tx?: Transaction): Promise<boolean> {
    this.#release()
    return (await this.#parts.store.change(this.#parts.key, this.#parts.token, { to: 'done', response, keepMs }, tx)) !== null
  }

  /** Notes that the call may have happened or not, so that the next one need not wait for the end of the lease. Never rejects: the lease ends by itself. */
  async unknown(): Promise<void> {
    this.#release()
    await this.#parts.store.change(this.#parts.key, this.#parts.token, { to: 'unknown' }).catch(() => undefined)
  }

  /** Notes that nothing happened. `false`: somebody else has it by now. */
  async remove(): Promise<boolean> {
    this.#release()
    return this.#parts.store.remove(this.#parts.key, this.#parts.token)
  }

  /** The same. Never rejects, as above. */
  async undone(): Promise<void> {
    await this.remove().catch(() => undefined)
  }

  #release(): void {
    this.#isHeld = false
    this.#cancel()
  }

  #schedule(): void {
    this.#cancel = this.#parts.clock.after(this.#parts.leaseMs / 3, () => void this.#renew())
  }

  async #renew(): Promise<void> {
    const { store, clock, key, token, leaseMs } = this.#parts
    const asked = clock.elapsed()
    const renewal = store.change(key, token, { to: 'renewed', leaseMs }).then(
      (entry) => (entry === null ? 'lost' : 'renewed'),
      () => 'failed',
    )
    // A database that does not answer at all says as little as one that fails. One that is asked late, since we stood still, gets a moment.
    const isAnswered = await within(clock, Math.max(leaseMs / 3, this.#aliveUntil - asked), renewal)
    const outcome = isAnswered ? await renewal : 'failed'
    if (!this.#isHeld) return
    if (outcome === 'renewed') this.#aliveUntil = asked + leaseMs
    if (outcome === 'lost' || clock.elapsed() >= this.#aliveUntil) this.#lost.abort(leaseLost())
    else this.#schedule()
  }
}

function leaseLost(): TidemarkError {
  return new TidemarkError('CALL_IN_PROGRESS', 'The lease on this call was lost: somebody else may make it again with the same key.')
}
