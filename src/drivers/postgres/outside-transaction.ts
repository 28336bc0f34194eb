import type { Connection, Submittable } from 'pg'
import type { Session } from './session.ts'

/**
 * Runs one command that cannot run in a transaction, such as `… concurrently`, and lets it wait for a lock no longer than `lockTimeoutMs`.
 * Rejects with the server's error, and then the connection is closed.
 *
 * Such a command obeys the connection's setting only, which must not reach whoever gets the connection next from a pooler. A pooler may change
 * connections where the server says that it is ready, after a Sync. So the setting, the command and the reset go as one batch, and its Sync
 * follows when the setting is reset. Where the command failed the reset was skipped: without a Sync, closing is all that can be done, and no
 * pooler uses a connection again whose client left in the middle of a batch.
 */
export function runOutsideTransaction(session: Session, command: string, lockTimeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    // In a transaction of its own, since the command must be the first of its own one.
    const batch = ['begin', `set lock_timeout = ${Math.ceil(lockTimeoutMs)}`, 'commit', command, 'reset lock_timeout']
    session.client.query(new Batch(batch, resolve, reject))
  })
}

class Batch implements Submittable {
  readonly #commands: readonly string[]
  readonly #resolve: () => void
  readonly #reject: (error: unknown) => void
  #completed = 0

  constructor(commands: readonly string[], resolve: () => void, reject: (error: unknown) => void) {
    this.#commands = commands
    this.#resolve = resolve
    this.#reject = reject
  }

  submit(connection: Connection): void {
    for (const text of this.#commands) {
      connection.parse({ name: '', text, types: [] }, true)
      connection.bind({}, true)
      connection.execute({}, true)
    }
    connection.flush()
  }

  handleCommandComplete(_message: unknown, connection: Pick<Connection, 'sync'>): void {
    this.#completed += 1
    if (this.#completed === this.#commands.length) connection.sync()
  }

  handleReadyForQuery(): void {
    this.#resolve()
  }

  /** The server's error, or the client's when the connection broke. */
  handleError(error: unknown, connection: Pick<Connection, 'stream'>): void {
    connection.stream.destroy()
    this.#reject(error)
  }
}
