import { TidemarkError } from '../../../errors.ts'
import { isConnectionFailure } from '../connection-failure.ts'

/** Failures of a moment: serialization, deadlock, lock and statement time-outs, a transaction that stood still. */
const passing = new Set(['40001', '40P01', '55P03', '57014', '25P03'])
const missing = new Set(['42P01', '42883', '3F000'])

/** The error of a database call as the broker port names it. */
export function brokerError(error: unknown): unknown {
  if (TidemarkError.is(error)) {
    if (error.code === 'DATABASE_UNREACHABLE' || error.code === 'DATABASE_CONNECTION_LOST' || error.code === 'COMMIT_UNKNOWN')
      return unreachable(error)
    return error
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (passing.has(code) || isConnectionFailure(error)) return unreachable(error)
  if (missing.has(code)) {
    return new TidemarkError('SCHEMA_MISSING', 'The tables of the Postgres broker are missing or older than this process needs.', {
      cause: error,
      remedy: 'Run: tidemark migrate --set log',
    })
  }
  return error
}

function unreachable(cause: unknown): TidemarkError {
  return new TidemarkError(
    'BROKER_UNREACHABLE',
    `The Postgres broker cannot be reached: ${cause instanceof Error ? cause.message : String(cause)}`,
    { cause },
  )
}
