import { TidemarkError } from '../errors.ts'
import { crashPoint } from '../internal/crash-point.ts'
import { type ClaimOutcome, claimCall } from './claim-call.ts'
import type { HeldClaim } from './held-claim.ts'
import { type Ledger, scopeOfCall } from './ledger.ts'
import { type MessageIdentity, idempotencyKey, ledgerKey } from './ledger-key.ts'
import type { LedgerKey } from './port.ts'
import { readResponse, storeResponse } from './stored-response.ts'
import { type CallLimits, withLimits } from './with-limits.ts'

/** What a call gets. */
export interface OutsideCall {
  /** Send this to the other side as its idempotency key. A uuid; the same in every retry, redrive and replay of this step of this message. */
  readonly key: string
  /** Aborts when its time is over, when the caller's signal does, and when somebody else may have taken the call over. Hand it on to `fetch`. */
  readonly signal: AbortSignal
  /** It may have been made before, and nobody knows how that ended. */
  readonly isRepeat: boolean
}

/** What became of a call whose outcome was unknown. */
export type CallResolution<T> =
  { readonly outcome: 'done'; readonly response: T } | { readonly outcome: 'not done' } | { readonly outcome: 'unknown' }

export interface OnceOptions<T> extends Partial<CallLimits> {
  /**
   * What to do when a former run may have made the call and nobody knows how it ended. `'call again'`: with the same key, so right where the other side
   * recognises it. `'fail'`: reject with `OUTCOME_UNKNOWN` until `settleCall` says how it ended. A function asks the other side; where it says `not done`
   * the call is made, where it does not know either it is as with `'fail'`. @default 'call again'
   */
  readonly onUnknown?: 'call again' | 'fail' | ((call: OutsideCall) => Promise<CallResolution<T>>)
  /** Errors that prove that the other side was never reached, so that the outcome is known: nothing. @default refused connections and unknown hosts */
  readonly didNothing?: (error: unknown) => boolean
  /** While a process works on the call it renews this; another one waits for its end after a crash. @default 15,000 ms */
  readonly leaseMs?: number
  /** Wait so long for another process that is at the same call. @default 20,000 ms, a little more than a lease */
  readonly waitMs?: number
  /** How long a response is kept. Should be more than the age of what you redrive. @default 30 days */
  readonly keepMs?: number
  /** Of the response, as JSON or bytes. @default 65,536 */
  readonly maxResponseBytes?: number
}

const day = 24 * 3_600_000
const defaults = { leaseMs: 15_000, waitMs: 20_000, timeoutMs: 30_000, keepMs: 30 * day, maxResponseBytes: 65_536 }

/**
 * Makes a call to the outside once for this step of this message, as far as anybody can: its response is stored, on a connection of its own and at
 * once, and a repeat gets the stored one. Returns data, a `Uint8Array`, or nothing; data come back as JSON would bring them, at the first time, too.
 *
 * The edge: a process that ends between the call and the storing leaves an unknown outcome, and so does a call that throws. See `onUnknown`.
 *
 * Rejects with what the call throws; with `CALL_IN_PROGRESS` (retryable) while another process is at it; with `OUTCOME_UNKNOWN`; and with `INPUT_INVALID`
 * for a response that cannot be kept, whose outcome is then unknown, too, so that a mended handler can call again.
 *
 * ```ts
 * const charge = await once(billing.ledger, order, 'charge-card', async ({ key, signal }) => {
 *   const response = await fetch(url, { method: 'POST', headers: { 'idempotency-key': key }, body, signal })
 *   return (await response.json()) as Charge
 * })
 * ```
 */
export async function once<T>(
  ledger: Ledger,
  message: MessageIdentity,
  step: string,
  call: (call: OutsideCall) => Promise<T>,
  options: OnceOptions<T> = {},
): Promise<T> {
  const key = ledgerKey(scopeOfCall(ledger), message, step)
  const found = await claimCall(ledger, key, wishOf(options))
  if (found.outcome !== 'held') return answerOf<T>(found, message, step)
  return new OnceCall(ledger, key, { message, step, call, options }).run(found.claim, found.isRepeat)
}

/**
 * Says how a call of unknown outcome ended, after somebody has looked: later runs get this response, or make the call. Rejects with
 * `CALL_IN_PROGRESS` while a process is at it, and with `INPUT_INVALID` when it is known already.
 */
export async function settleCall(
  ledger: Ledger,
  message: MessageIdentity,
  step: string,
  resolution: Exclude<CallResolution<unknown>, { readonly outcome: 'unknown' }>,
): Promise<void> {
  const response = resolution.outcome === 'done' ? storeResponse(resolution.response, defaults.maxResponseBytes) : null
  const key = ledgerKey(scopeOfCall(ledger), message, step)
  const found = await claimCall(ledger, key, { ...wishOf({ onUnknown: 'fail', waitMs: 0 }), takesOver: true })
  if (found.outcome === 'answer')
    throw new TidemarkError('INPUT_INVALID', `How the call ${named(message, step)} ended is known already: its response is stored.`)
  if (found.outcome !== 'held') return answerOf<undefined>(found, message, step)
  try {
    const isOurs = response === null ? await found.claim.remove() : await found.claim.done(response, defaults.keepMs)
    if (!isOurs) throw inProgress(message, step, 0)
  } catch (error) {
    await found.claim.unknown()
    throw error
  }
}

interface CallParts<T> {
  readonly message: MessageIdentity
  readonly step: string
  readonly call: (call: OutsideCall) => Promise<T>
  readonly options: OnceOptions<T>
}

/** A call that is ours to make. */
class OnceCall<T> {
  readonly #ledger: Ledger
  readonly #key: LedgerKey
  readonly #parts: CallParts<T>

  constructor(ledger: Ledger, key: LedgerKey, parts: CallParts<T>) {
    this.#ledger = ledger
    this.#key = key
    this.#parts = parts
  }

  async run(claim: HeldClaim, isRepeat: boolean): Promise<T> {
    crashPoint('ledger:after-begin')
    const { onUnknown } = this.#parts.options
    if (!isRepeat || typeof onUnknown !== 'function') return this.#store(claim, await this.#make(claim, isRepeat))
    const resolution = await this.#guarded(claim, true, onUnknown)
    if (resolution.outcome === 'done') return this.#store(claim, resolution.response)
    if (resolution.outcome === 'not done') return this.#store(claim, await this.#make(claim, false))
    await claim.unknown()
    throw outcomeUnknown(this.#parts.message, this.#parts.step)
  }

  #make(claim: HeldClaim, isRepeat: boolean): Promise<T> {
    return this.#guarded(claim, isRepeat, this.#parts.call)
  }

  /** What it throws leaves the outcome unknown, unless it proves that nothing has happened, now and before. */
  async #guarded<R>(claim: HeldClaim, isRepeat: boolean, ask: (call: OutsideCall) => Promise<R>): Promise<R> {
    const { timeoutMs = defaults.timeoutMs, signal, didNothing = wasNotReached } = this.#parts.options
    const key = idempotencyKey(this.#key)
    const limits = { timeoutMs, signal: signal === undefined ? claim.lost : AbortSignal.any([signal, claim.lost]) }
    try {
      return await withLimits(this.#ledger.clock, limits, (given) => ask({ key, signal: given, isRepeat }))
    } catch (error) {
      await (!isRepeat && didNothing(error) ? claim.undone() : claim.unknown())
      throw error
    }
  }

  async #store(claim: HeldClaim, value: T): Promise<T> {
    const { keepMs = defaults.keepMs, maxResponseBytes = defaults.maxResponseBytes } = this.#parts.options
    crashPoint('ledger:after-call')
    let response
    try {
      response = storeResponse(value, maxResponseBytes)
    } catch (error) {
      await claim.unknown()
      throw error
    }
    const isOurs = await claim.done(response, keepMs)
    crashPoint('ledger:after-store')
    if (isOurs) return readResponse(response) as T
    // Somebody took us for dead and made the call with the same key: all shall get the one stored response.
    const { message, step, options } = this.#parts
    const found = await claimCall(this.#ledger, this.#key, { ...wishOf(options), takesOver: false })
    if (found.outcome === 'held') await found.claim.unknown()
    return answerOf<T>(found, message, step)
  }
}

function wishOf<T>({ onUnknown = 'call again', leaseMs, waitMs, keepMs, signal }: OnceOptions<T>): Parameters<typeof claimCall>[2] {
  return {
    fingerprint: null,
    leaseMs: leaseMs ?? defaults.leaseMs,
    // To forget what nobody was told of is fine only where the call would be made again anyway.
    keepMs: onUnknown === 'call again' ? (keepMs ?? defaults.keepMs) : null,
    waitMs: waitMs ?? defaults.waitMs,
    takesOver: onUnknown !== 'fail',
    ...(signal === undefined ? {} : { signal }),
  }
}

function answerOf<T>(found: ClaimOutcome, message: MessageIdentity, step: string): T {
  if (found.outcome === 'answer') return readResponse(found.response) as T
  if (found.outcome !== 'in progress') throw outcomeUnknown(message, step)
  throw inProgress(message, step, found.leaseLeftMs)
}

function inProgress(message: MessageIdentity, step: string, leaseLeftMs: number): TidemarkError {
  return new TidemarkError('CALL_IN_PROGRESS', `Another process is at the call ${named(message, step)}.`, {
    details: { source: message.source, id: message.id, step, leaseLeftMs },
    remedy: 'Try again later: its response will be stored, or its lease will end.',
  })
}

function outcomeUnknown(message: MessageIdentity, step: string): TidemarkError {
  return new TidemarkError(
    'OUTCOME_UNKNOWN',
    `The call ${named(message, step)} may have been made before, and nobody knows how it ended.`,
    {
      details: { source: message.source, id: message.id, step },
      remedy: 'Look at the other side, say how it ended with settleCall, and redrive the message.',
    },
  )
}

function named({ source, id }: MessageIdentity, step: string): string {
  return `"${step}" of the message ${id} of ${source}`
}

/** A connection that was never made; `fetch` has it as its cause. */
function wasNotReached(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if ('code' in error && ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN'].includes(String(error.code))) return true
  return error.cause !== undefined && wasNotReached(error.cause)
}
