import { TidemarkError } from '../errors.ts'

/** By symbol, not by `instanceof`: two copies of the package can meet in one process. */
const brand = Symbol.for('tidemark.failure')

type Kind = 'terminal' | 'later'

/**
 * Thrown by a handler: this message can never be handled. It goes to the dead letters at once, and is not tried again. Subclasses count, too.
 */
export class TerminalError extends Error {
  override readonly name: string = 'TerminalError'

  get [brand](): Kind {
    return 'terminal'
  }
}

/** What is in the message is not valid. Never tried again. */
export class ValidationError extends TerminalError {
  override readonly name = 'ValidationError'
}

/** The message asks for something that the rules of the business forbid. Never tried again. */
export class BusinessRuleViolation extends TerminalError {
  override readonly name = 'BusinessRuleViolation'
}

/** Bytes within the message could not be read. Never tried again. */
export class DeserializationError extends TerminalError {
  override readonly name = 'DeserializationError'
}

/**
 * Thrown by a handler: not now. The message waits that long with its key, and nobody is charged, however often; ten years at most.
 * The constructor throws `INPUT_INVALID` for anything but a number from 0 on.
 *
 * ```ts
 * if (rateLimited) throw new RetryLater(30_000, 'the carrier takes ten calls a minute')
 * ```
 */
export class RetryLater extends Error {
  override readonly name = 'RetryLater'
  /** Milliseconds. */
  readonly afterMs: number

  constructor(afterMs: number, reason = 'The handler asked to be called again later.', options?: ErrorOptions) {
    super(reason, options)
    if (!Number.isFinite(afterMs) || afterMs < 0)
      throw new TidemarkError('INPUT_INVALID', `RetryLater: expected milliseconds from 0 on, got ${afterMs}.`)
    this.afterMs = afterMs
  }

  get [brand](): Kind {
    return 'later'
  }
}

export function isTerminal(error: unknown): boolean {
  return kindOf(error) === 'terminal'
}

/** No message waits longer: what is asked for is a mistake then, and a moment that no database can store must stop nobody. */
const longestWaitMs = 10 * 365 * 24 * 60 * 60 * 1_000

/** How long to wait, where the error is a `RetryLater`. At most ten years. */
export function retryLaterMs(error: unknown): number | null {
  if (kindOf(error) !== 'later') return null
  const { afterMs } = error as RetryLater
  return Number.isFinite(afterMs) && afterMs >= 0 ? Math.min(afterMs, longestWaitMs) : 0
}

function kindOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && brand in error ? (error as Record<symbol, unknown>)[brand] : undefined
}
