import { TidemarkError, type ErrorOptions } from '../../../errors.ts'
import type { Home } from './home.ts'
import { logTail } from './server-log.ts'

/** An `EMBEDDED_FAILED` that quotes the end of the server's log, from the given byte on. */
export async function failureWithLog(home: Home, since: number, message: string, options: ErrorOptions = {}): Promise<TidemarkError> {
  const log = await logTail(home.log, since)
  const quoted = log === '' ? `The log ${home.log} says nothing.` : `The end of ${home.log}:\n${log}\n`
  return new TidemarkError('EMBEDDED_FAILED', `${message} ${quoted}`, {
    ...options,
    details: { directory: home.directory, log: home.log, ...options.details },
  })
}
