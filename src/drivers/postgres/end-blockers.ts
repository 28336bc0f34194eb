import { isConnectionFailure } from './connection-failure.ts'
import { type PostgresDatabase, rollBack } from './database.ts'
import type { Statement } from './statement-run.ts'

/** How long the probe waits before it looks who is in its way; long enough for the server to have queued it. */
const queuedMs = 50

/**
 * Ends the connections that hold what `statement` waits for, where they stand idle: a frozen process's. Who that is, is asked of the server,
 * because a pool gives every transaction another backend. A backend that works on a statement is left alone; it will come to its end.
 * Needs `pg_signal_backend`, or the same role; without it nothing happens, and the caller waits for the server's own time limit. Returns why it
 * could not.
 */
export async function endBlockers(database: PostgresDatabase, statement: Statement): Promise<unknown> {
  return database.use(async (waiting) => {
    const [, self] = await waiting.run([
      { text: 'begin' },
      { text: `select pg_backend_pid() as pid, set_config('lock_timeout', '1000', true)` },
    ])
    const waited = waiting.run([statement]).then(
      () => undefined,
      () => undefined,
    )
    try {
      await database.use(async (looking) => {
        await looking.run([{ text: `select pg_sleep($1)`, params: [queuedMs / 1000] }, terminate(Number(self!.rows[0]!['pid']))])
      })
      return null
    } catch (error) {
      if (isConnectionFailure(error)) throw error
      // Not permitted: the holder's own time limit ends it.
      return error
    } finally {
      // In any case: the pool must not get a connection with an open transaction.
      await waited
      await rollBack(waiting)
    }
  })
}

/** `ClientRead`: the server waits for the client, in a transaction or in the middle of a round trip. */
function terminate(pid: number): Statement {
  return {
    text: `select pg_terminate_backend(a.pid) from pg_stat_activity a where a.pid = any(pg_blocking_pids($1)) and a.wait_event = 'ClientRead'`,
    params: [pid],
  }
}
