import { createHash } from 'node:crypto'
import { TidemarkError } from '../errors.ts'
import { classify } from './classification.ts'
import type { FailureClass } from './failure-class.ts'
import { retryLaterMs } from './failure-errors.ts'
import { ownFrame } from './own-frame.ts'

/** What went wrong, in words that outlive the error. */
export interface Failure {
  readonly is: FailureClass
  readonly errorClass: string
  readonly reason: string
  readonly stack: string | null
  /** The first line of the stack that belongs to the user: where it was thrown. */
  readonly frame: string | null
  /** The handler asked to be called again after so long; `null`: it did not. */
  readonly laterMs: number | null
}

/** Longest text kept of an error: some carry whole documents. */
const longest = 10_000
/** Longest name of a class, which stands in indexes, headers and lists. */
const longestClass = 200

/** Puts whatever was thrown into words. Total: it never throws itself. */
export function failureOf(error: unknown): Failure {
  const is = classify(error)
  try {
    if (!(error instanceof Error))
      return { is, errorClass: typeof error, reason: shortened(String(error)), stack: null, frame: null, laterMs: null }
    return {
      is,
      errorClass: errorClassOf(error).slice(0, longestClass),
      reason: shortened(error.message),
      stack: stackOf(error),
      frame: ownFrame(error.stack),
      laterMs: retryLaterMs(error),
    }
  } catch {
    const reason = 'Something was thrown that cannot be put into words.'
    return { is, errorClass: 'unknown', reason, stack: null, frame: null, laterMs: null }
  }
}

function errorClassOf(error: Error): string {
  if (TidemarkError.is(error)) return error.code
  return 'code' in error && typeof error.code === 'string' ? `${error.name} ${error.code}` : error.name
}

function stackOf(error: Error): string | null {
  const cause = error.cause instanceof Error ? `\nCaused by: ${error.cause.stack ?? error.cause.message}` : ''
  return error.stack === undefined ? null : shortened(error.stack + cause)
}

function shortened(text: string): string {
  return text.length <= longest ? text : `${text.slice(0, longest)} … (${text.length} characters)`
}

/** The same for failures that are alike, as the breaker sees it: what was thrown, and where. */
export function signatureOf({ errorClass, frame }: Pick<Failure, 'errorClass' | 'frame'>): string {
  return `${errorClass} ${frame ?? ''}`
}

/** What letters have in common that died alike. Line numbers do not count, since they change with every deployment. */
export function fingerprintOf({ errorClass, frame }: Pick<Failure, 'errorClass' | 'frame'>, type: string | null, group: string): string {
  const place = frame?.replace(/:\d+(?::\d+)?(?=\)?$)/, '') ?? null
  return createHash('sha256')
    .update(JSON.stringify([errorClass, place, type, group]))
    .digest('hex')
    .slice(0, 16)
}
