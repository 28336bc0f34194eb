import { TidemarkError } from '../../errors.ts'
import { type PostgresDatabase, connectionError, rollBack } from './database.ts'
import type { Session } from './session.ts'

/** Who cannot have a lock for so long gives up and may try again: rather than hang behind an owner that stands still on its position. */
const lockTimeoutMs = 15_000
/** The server ends a transaction that hears nothing for so long: a frozen operator must not keep a lane waiting, whose position it has locked. */
const standstillMs = 5_000

/** How a transaction's work ended: `committed` by itself, or to be rolled back. */
export interface Ended<T> {
  readonly end: 'committed' | 'undo'
  readonly result: T
}

/**
 * A short transaction of an operator's on positions, keys and letters. Rejects with `TRANSACTION_ABORTED` (retryable) where a lock could not be had in
 * time, and with `COMMIT_UNKNOWN` when the connection broke during the commit.
 */
export async function letterTransaction<T>(database: PostgresDatabase, work: (session: Session) => Promise<Ended<T>>): Promise<T> {
  const session = await database.lease()
  let failure: Error | boolean = false
  try {
    await session.run([
      // Said each time: a role may have another default, and then later statements would not see what the locks waited for.
      { text: 'begin isolation level read committed' },
      {
        text: `select set_config('lock_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $2, true)`,
        params: [String(lockTimeoutMs), String(standstillMs)],
      },
    ])
    const { end, result } = await work(session)
    if (end === 'undo') failure = await rollBack(session)
    return result
  } catch (error) {
    failure = await rollBack(session)
    if (!isLockTimeout(error)) throw connectionError(error, session)
    throw new TidemarkError('TRANSACTION_ABORTED', `A lock could not be had within ${lockTimeoutMs} ms.`, { cause: error })
  } finally {
    session.release(failure)
  }
}

function isLockTimeout(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === '55P03'
}
