import { TidemarkError } from '../../errors.ts'

/**
 * The third process that ends while it runs this message, and no other, is the last. A crash of many that were under way together is nobody's: it only says among whom
 * to look.
 */
export const mostCrashes = 3

/** The failure of a message that nobody lived to tell of. */
export function crashed(times: number): TidemarkError {
  return new TidemarkError('PROCESS_CRASHED', `${times} processes in a row ended, or were ended, while they handled this message.`, {
    remedy: 'Look for what ended them: memory, a native module, process.exit. Redrive the message once that is mended.',
  })
}
