import { type Failure, signatureOf } from './failure.ts'
import type { FailureClass } from './failure-class.ts'

/** When failures are no longer those of single messages. */
export interface BreakerPolicy {
  /** Different keys in a row that failed because something outside was away. @default 3 */
  readonly outageKeys: number
  /** Different keys in a row that failed alike, for any other reason that may pass. @default 10 */
  readonly alikeKeys: number
  /** Pause before the first probe; doubles with each that fails. @default 1,000 ms */
  readonly probeAfterMs: number
  /** The pause never gets longer. @default 10,000 ms */
  readonly maxProbeAfterMs: number
  /**
   * Opened by failures alike of which nobody knows that something outside was away, handlers that take too long among them: for so long probes are charged to nobody. From then on those that fail in the
   * same way are, still one at a time, or messages that nothing else comes between would wait for ever. Never so where something was known to be away.
   * @default 600,000 ms (10 minutes)
   */
  readonly maxAlikeMs: number
}

export const defaultBreakerPolicy: BreakerPolicy = {
  outageKeys: 3,
  alikeKeys: 10,
  probeAfterMs: 1_000,
  maxProbeAfterMs: 10_000,
  maxAlikeMs: 600_000,
}

/** A run of a message that failed. */
export interface BreakerFailure {
  readonly handler: string
  readonly is: FailureClass
  readonly errorClass: string
  /** Failures that are alike have the same: error class and place. */
  readonly signature: string
  /** Of the message; something of its own for one without a key. */
  readonly key: string
  /** Not of a message that is known to fail while others succeed: those say nothing about the state of things. */
  readonly first: boolean
}

/** `before`: what the message failed of the last time, where it has waited for that; `null`: it has not. */
export function breakerFailure(
  failure: Failure,
  { handler, key, before }: { readonly handler: string; readonly key: string; readonly before: string | null },
): BreakerFailure {
  const { is, errorClass, reason } = failure
  // What is known to fail says nothing of the state of things, but that something is away which was not before.
  const first = before === null || (is === 'transient' && before !== reason)
  return { handler, is, errorClass, signature: signatureOf(failure), key, first }
}

/** Who tries one message while it is open: what waits parked is out of the lanes' reach, and what stands in a lane out of the retriers'. */
export type Prober = 'lanes' | 'retriers'

/** What may run now. */
export type Permit =
  | { readonly allow: 'all' }
  /** One message, to see. */
  | { readonly allow: 'probe' }
  | { readonly allow: 'none'; readonly untilMs: number }

/** What a breaker tells of itself. */
export interface BreakerEvents {
  opened(cause: BreakerFailure): void
  closed(cause: BreakerFailure): void
  /** Whatever failed of this handler before did so for itself. */
  succeeded(handler: string): void
}

interface Tripped {
  readonly failure: BreakerFailure
  readonly at: number
  /** Probes that fail like what opened it are charged by now. */
  isOverdue: boolean
  /** Of each by itself: those of what waits say nothing of whether something in the lanes would succeed, and must not hold it up. */
  readonly probes: Readonly<Record<Prober, Probes>>
}

interface Probes {
  failed: number
  nextAt: number
}

/** A handler that does not return may wait for something that is away, or for nothing: nobody knows. */
function isKnownOutage({ is, errorClass }: BreakerFailure): boolean {
  return is === 'transient' && errorClass !== 'HANDLER_TIMEOUT'
}

/** Errors whose texts are all different must not fill the memory. */
const mostSignatures = 50

/**
 * Tells messages that fail from surroundings that fail: many keys in a row, of one handler, without a success of it in between. It is open then: the
 * consumer and its retriers stand still, nobody is charged (see `maxAlikeMs`), and now and then one message is tried, until one succeeds. A failure beside successes
 * is that of its message, and never opens it. No I/O, no clock: times are those of `Clock.elapsed`.
 */
export class CircuitBreaker {
  readonly #policy: BreakerPolicy
  /** By handler, then by signature: the keys that failed since it last succeeded. */
  readonly #streaks = new Map<string, Map<string, Set<string>>>()
  #tripped: Tripped | null = null
  readonly #events: BreakerEvents

  constructor(policy: BreakerPolicy, events: BreakerEvents) {
    this.#policy = policy
    this.#events = events
  }

  get isOpen(): boolean {
    return this.#tripped !== null
  }

  /** What opened it. */
  get cause(): BreakerFailure | null {
    return this.#tripped?.failure ?? null
  }

  /** It has been open for so long that probes are charged. */
  get isOverdue(): boolean {
    return this.#tripped?.isOverdue === true
  }

  permit(now: number, prober: Prober = 'lanes'): Permit {
    if (this.#tripped === null) return { allow: 'all' }
    const { nextAt } = this.#tripped.probes[prober]
    return now < nextAt ? { allow: 'none', untilMs: nextAt } : { allow: 'probe' }
  }

  /** `charge`: it is the failure of its message alone. `hold`: of something greater, and the message must not be charged. */
  failed(failure: BreakerFailure, now: number, random: number, prober: Prober = 'lanes'): 'charge' | 'hold' {
    // What can never be handled says nothing of the surroundings, however often it comes.
    const isVerdict = failure.is === 'poison'
    if (this.#tripped !== null) {
      // Whoever's message it was: without a pause the next one would be tried at once, and the one after it.
      this.#wait(this.#tripped.probes[prober], now, random)
      return isVerdict || this.#isItsOwn(failure, this.#tripped, now) ? 'charge' : 'hold'
    }
    if (!failure.first || failure.is === 'fenced' || isVerdict) return 'charge'
    const keys = this.#keys(failure)
    keys.add(failure.key)
    if (keys.size < this.#limit(failure.is)) return 'charge'
    const probes = { lanes: { failed: 0, nextAt: 0 }, retriers: { failed: 0, nextAt: 0 } }
    this.#tripped = { failure, at: now, isOverdue: false, probes }
    this.#wait(probes.lanes, now, random)
    this.#wait(probes.retriers, now, random)
    this.#events.opened(failure)
    return 'hold'
  }

  /** While it is open: may this failure have the same reason? One that is known to fail by itself need not be held for any other. */
  explains({ is, signature }: Pick<BreakerFailure, 'is' | 'signature'>): boolean {
    return is === 'transient' || this.#tripped?.failure.signature === signature
  }

  /** A message of this handler was handled. */
  succeeded(handler: string): void {
    const tripped = this.#tripped
    if (!this.#streaks.delete(handler)) return
    this.#events.succeeded(handler)
    if (tripped?.failure.handler !== handler) return
    this.#tripped = null
    this.#events.closed(tripped.failure)
  }

  /** It took too long for something that passes, and nobody knows it for that. */
  #isItsOwn({ is, signature }: BreakerFailure, tripped: Tripped, now: number): boolean {
    const { failure, at } = tripped
    if (isKnownOutage(failure) || is !== failure.is || signature !== failure.signature || now - at < this.#policy.maxAlikeMs) return false
    tripped.isOverdue = true
    return true
  }

  #wait(probes: Probes, now: number, random: number): void {
    const longest = Math.min(this.#policy.maxProbeAfterMs, this.#policy.probeAfterMs * 2 ** Math.min(probes.failed, 30))
    probes.failed += 1
    probes.nextAt = now + longest / 2 + (longest / 2) * random
  }

  #keys({ handler, is, signature }: BreakerFailure): Set<string> {
    const streak = this.#streaks.get(handler) ?? new Map<string, Set<string>>()
    this.#streaks.set(handler, streak)
    // Whatever an outage looks like from each place in the code, it is one.
    const name = is === 'transient' ? 'transient' : signature
    const keys = streak.get(name) ?? new Set<string>()
    if (streak.size >= mostSignatures && !streak.has(name)) streak.delete(streak.keys().next().value!)
    streak.set(name, keys)
    return keys
  }

  #limit(is: FailureClass): number {
    return is === 'transient' ? this.#policy.outageKeys : this.#policy.alikeKeys
  }
}
