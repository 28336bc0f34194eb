import { TidemarkError } from '../../errors.ts'

/** So many processes may end while they handle a message before it is given up. */
export const mostCrashes = 3

/** The failure of a message that nobody lived to tell of. */
export function crashed(times: number): TidemarkError {
  return new TidemarkError('PROCESS_CRASHED', `${times} processes in a row ended, or were ended, while they handled this message.`, {
    remedy: 'Look for what ended them: memory, a native module, process.exit. Redrive the message once that is mended.',
  })
}
