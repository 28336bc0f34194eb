import { TidemarkError, errorCatalogue } from 'tidemark'
import { MalformedLine } from '../input/purchase-file.ts'

/** Exit codes of the program, as `--help` lists them. */
export const exitCodes = { done: 0, failed: 1, usage: 2, notFound: 4, conflict: 6, unreachable: 7, interrupted: 130 } as const

/** Something the person at the keyboard can put right. */
export class ShopError extends Error {
  override readonly name = 'ShopError'
  readonly code: string
  readonly exitCode: number
  readonly hint: string

  constructor(code: string, exitCode: number, message: string, hint: string, options?: { readonly cause?: unknown }) {
    super(message, options)
    this.code = code
    this.exitCode = exitCode
    this.hint = hint
  }
}

/** A failure as programs read it, and the exit code that goes with it. */
export interface Failure {
  readonly code: string
  readonly message: string
  readonly hint: string
  readonly retryable: boolean
  readonly exitCode: number
}

/** Describes any error. Unknown ones are the program's own mistakes: exit code 1. */
export function describeFailure(error: unknown): Failure {
  if (error instanceof ShopError) {
    const { code, message, hint, exitCode } = error
    return { code, message, hint, retryable: false, exitCode }
  }
  if (error instanceof MalformedLine) {
    const { message } = error
    return { code: 'INPUT_MALFORMED', message, hint: 'Mend the line, then run again.', retryable: false, exitCode: exitCodes.usage }
  }
  if (TidemarkError.is(error)) {
    const { code, message, retryable } = error
    const hint = code === 'TOPIC_MISMATCH' || code === 'OFFSET_OUT_OF_RANGE' ? 'Or say --fresh to drop all orders and begin again.' : ''
    return { code, message, hint, retryable, exitCode: errorCatalogue[code].exitCode }
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { code: 'UNEXPECTED', message, hint: '', retryable: false, exitCode: exitCodes.failed }
}
