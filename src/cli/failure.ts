import { TidemarkError, errorCatalogue } from '../errors.ts'
import { NotFoundError, UsageError } from './command.ts'
import { withoutSecrets } from './without-secrets.ts'

/** What is said of an error, and the exit code. */
export interface Failure {
  readonly exitCode: number
  readonly code: string
  readonly message: string
  readonly retryable: boolean
}

/** Total: an error that nobody knows is a failure, never a success. What it says holds no password, whatever was typed. */
export function failure(error: unknown): Failure {
  const found = classified(error)
  return { ...found, message: withoutSecrets(found.message) }
}

function classified(error: unknown): Failure {
  if (error instanceof UsageError) return { exitCode: 2, code: 'USAGE', message: error.message, retryable: false }
  if (error instanceof NotFoundError) return { exitCode: 4, code: 'NOT_FOUND', message: error.message, retryable: false }
  const state = sqlState(error) ?? sqlState(error instanceof Error ? error.cause : undefined)
  const message = error instanceof Error ? error.message : String(error)
  // Class 28: who are you. 42501: you may not.
  if (state !== null && (state.startsWith('28') || state === '42501')) return { exitCode: 5, code: state, message, retryable: false }
  // The tables are not there.
  if (state === '42P01' || state === '3F000') {
    return { exitCode: 6, code: 'SCHEMA_MISSING', message: `${message}. Run: tidemark migrate`, retryable: false }
  }
  if (TidemarkError.is(error)) {
    return { exitCode: errorCatalogue[error.code].exitCode, code: error.code, message, retryable: error.retryable }
  }
  return { exitCode: 1, code: state ?? 'FAILED', message, retryable: false }
}

function sqlState(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && /^[0-9A-Z]{5}$/.test(error.code) ? error.code : null
}
