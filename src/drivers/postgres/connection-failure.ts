const connectionCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ETIMEDOUT',
  'EPIPE',
  'ENOENT',
  'EHOSTUNREACH',
  'ENOTFOUND',
  '57P01',
  '57P02',
  '57P03',
  '53300',
])

/** Is this the failure of a connection rather than of a statement? Class 08 and the server's shut-down and start-up codes. */
export function isConnectionFailure(error: unknown): error is Error {
  if (!(error instanceof Error)) return false
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return (
    connectionCodes.has(code) ||
    code.startsWith('08') ||
    /^Connection terminated|not queryable|timeout exceeded when trying to connect/.test(error.message)
  )
}
