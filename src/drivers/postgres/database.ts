import pg from 'pg'
import type { Pool, PoolConfig } from 'pg'
import { TidemarkError } from '../../errors.ts'
import type { Row, Transaction } from '../../message/transaction.ts'
import { isConnectionFailure } from './connection-failure.ts'
import { poolerRefusal } from './pooler-refusal.ts'
import { placeOf, requireConnectionString } from './connection-string.ts'
import { Session, type SessionClient } from './session.ts'
import type { Statement, StatementResult } from './statement-run.ts'

/** What Tidemark needs of a pool: a leased client. `pg.Pool` fits; a type test keeps it so. */
export interface ClientPool {
  connect(): Promise<SessionClient>
}

/** Where to connect, read afresh for every new connection, since an embedded server may come back on another port. */
export interface ConnectionSettings {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password?: string
  readonly database: string
}

export interface PostgresDatabaseOptions {
  /** Your pool. It is never ended by Tidemark. Exactly one of `pool`, `connectionString` and `connection`. */
  readonly pool?: ClientPool
  /** A URL: `postgres://user:password@host:5432/database`, special characters of user and password percent-encoded. */
  readonly connectionString?: string
  /** For servers whose address may change. */
  readonly connection?: () => ConnectionSettings
  /** Called before a connection is tried again after one failed, for example to restart an embedded server. */
  readonly revive?: () => Promise<void>
  /** Most connections of an own pool. @default 10 */
  readonly maxConnections?: number
  /** Give up on one attempt to connect after this long. @default 5,000 ms */
  readonly connectTimeoutMs?: number
}

/** Statements for the end of a transaction, sent in the same round trip as its commit. */
export type BeforeCommit = () => Promise<readonly Statement[]>

/**
 * A Postgres database: leases sessions and runs transactions. Opens its pool lazily; `close` ends only what it opened.
 */
export class PostgresDatabase {
  readonly #options: PostgresDatabaseOptions
  #own: Pool | null = null

  constructor(options: PostgresDatabaseOptions) {
    const given = [options.pool, options.connectionString, options.connection].filter((x) => x !== undefined).length
    if (given !== 1) {
      throw new TidemarkError('CONFIG_INVALID', `postgres() takes exactly one of pool, connectionString and connection; got ${given}.`)
    }
    if (options.connectionString !== undefined) requireConnectionString(options.connectionString)
    this.#options = options
  }

  /** Leases a session. Rejects with `DATABASE_UNREACHABLE`, which names what was tried and never the password, or `CONFIG_INVALID`. */
  async lease(): Promise<Session> {
    try {
      return new Session(await this.#pool().connect())
    } catch (error) {
      if (this.#options.revive === undefined || !isConnectionFailure(error)) throw this.#unreachable(error)
    }
    try {
      await this.#options.revive()
      return new Session(await this.#pool().connect())
    } catch (error) {
      throw TidemarkError.is(error) ? error : this.#unreachable(error)
    }
  }

  /** Leases a session for the time of `work`. Rejects with `DATABASE_CONNECTION_LOST` when the connection broke. */
  async use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.lease()
    try {
      return await work(session)
    } catch (error) {
      throw connectionError(error, session)
    } finally {
      session.release()
    }
  }

  /** One statement of Tidemark's on any connection, committed by itself. */
  query<R extends Row = Row>(text: string, params?: readonly unknown[]): Promise<R[]> {
    return this.use((session) => session.query<R>(text, params))
  }

  /**
   * Runs `work` in a transaction and commits. What `work` throws rolls back and is thrown on. Rejects with `TRANSACTION_ABORTED` when the
   * server rolled back instead of committing (an error was swallowed), and with `COMMIT_UNKNOWN` when the connection broke during the commit.
   * After `work` has ended `tx` takes nothing any more (`TRANSACTION_CLOSED`): the connection goes on to somebody else.
   */
  async transaction<T>(work: (tx: Transaction<SessionClient>, session: Session) => Promise<T>, beforeCommit?: BeforeCommit): Promise<T> {
    const session = await this.lease()
    const tx = transactionOn(session)
    let failure: Error | boolean = false
    try {
      const begun = session.query('begin')
      begun.catch(() => undefined)
      const result = await work(tx, session)
      tx.close()
      await begun
      await commit(session, (await beforeCommit?.()) ?? [])
      return result
    } catch (error) {
      tx.close()
      failure = await rollBack(session)
      throw connectionError(error, session)
    } finally {
      session.release(failure)
    }
  }

  /** Ends an own pool. Sessions still leased are ended by their release. */
  async close(): Promise<void> {
    const pool = this.#own
    this.#own = null
    await pool?.end()
  }

  /** Where it is, for people: host, port and database, never a password. */
  get place(): string {
    const { connection, connectionString } = this.#options
    if (connection !== undefined) return placeOfSettings(connection())
    return connectionString === undefined ? 'the given pool' : placeOf(connectionString)
  }

  #pool(): ClientPool {
    if (this.#options.pool !== undefined) return this.#options.pool
    this.#own ??= this.#open()
    return this.#own as ClientPool
  }

  #open(): Pool {
    const { connection, connectionString, maxConnections = 10, connectTimeoutMs = 5_000 } = this.#options
    const config: PoolConfig = {
      max: maxConnections,
      connectionTimeoutMillis: connectTimeoutMs,
      keepAlive: true,
      application_name: 'tidemark',
    }
    config.Client = class extends pg.Client {
      constructor(settings?: pg.ClientConfig) {
        // Given to the client alone: a pool would keep the password where anybody who prints it sees it.
        super({ ...settings, ...(connectionString === undefined ? {} : { connectionString }), ...connection?.() })
        // A server that dies right after a login says so before the pool or a session listens; the next statement fails by it anyway.
        this.on('error', () => undefined)
      }
    } as NonNullable<PoolConfig['Client']>
    const pool = new pg.Pool(config)
    // An idle connection that breaks is dropped from the pool; the next lease makes a new one.
    pool.on('error', () => undefined)
    return pool
  }

  #unreachable(cause: unknown): TidemarkError {
    const refusal = poolerRefusal(cause)
    if (refusal !== null) return refusal
    const where = this.place
    const reason = cause instanceof Error ? cause.message || ('code' in cause ? String(cause.code) : cause.name) : String(cause)
    return new TidemarkError('DATABASE_UNREACHABLE', `No connection to Postgres at ${where}: ${reason}.`, {
      cause,
      details: { where },
      remedy: 'Check that the server runs, that host, port and database are right, and that the user may log in.',
    })
  }
}

/** The transaction that is open on a session, as those see it who work in it. */
export function transactionOn(session: Session): SessionTransaction {
  return new SessionTransaction(session)
}

class SessionTransaction implements Transaction<SessionClient> {
  readonly #session: Session
  #closed = false

  constructor(session: Session) {
    this.#session = session
  }

  query<R extends Row = Row>(text: string, params?: readonly unknown[]): Promise<R[]> {
    return this.#closed ? Promise.reject(afterEnd('tx.query')) : this.#session.query<R>(text, params, this.#session.clientParser)
  }

  get raw(): SessionClient {
    if (this.#closed) throw afterEnd('tx.raw')
    return this.#session.client
  }

  /** Nothing asked from now on reaches the connection, which may be somebody else's. */
  close(): void {
    this.#closed = true
  }
}

function afterEnd(what: string): TidemarkError {
  return new TidemarkError('TRANSACTION_CLOSED', `${what} was used after the work of the transaction had ended.`, {
    remedy: 'Await everything you start before you return.',
  })
}

/** Runs the last statements and commits, in one round trip. */
export async function commit(session: Session, last: readonly Statement[]): Promise<StatementResult[]> {
  let results: StatementResult[]
  try {
    results = await session.run([...last, { text: 'commit' }])
  } catch (error) {
    if (session.broken === null) throw error
    throw new TidemarkError('COMMIT_UNKNOWN', 'The connection to Postgres broke during a commit; its outcome is unknown.', { cause: error })
  }
  if (results.at(-1)!.command !== 'COMMIT') {
    throw new TidemarkError(
      'TRANSACTION_ABORTED',
      'Postgres answered the commit with a rollback: a statement of this transaction had failed.',
      {
        remedy: 'Do not swallow errors of tx.query, or guard the statement by a savepoint.',
      },
    )
  }
  return results
}

/** Ends a failed transaction. Returns whether the connection must not be used again. */
export async function rollBack(session: Session): Promise<Error | boolean> {
  if (session.broken !== null) return session.broken
  try {
    await session.run([{ text: 'rollback' }])
    return false
  } catch (error) {
    return error instanceof Error ? error : true
  }
}

/** Wraps what was thrown while the connection broke. Other errors stay as they are, a refused connection to somewhere else among them. */
export function connectionError(error: unknown, session: Session): unknown {
  if (TidemarkError.is(error) || session.broken === null) return error
  return (
    poolerRefusal(session.broken) ??
    new TidemarkError('DATABASE_CONNECTION_LOST', 'The connection to Postgres broke; what was not committed is rolled back.', {
      cause: error,
    })
  )
}

function placeOfSettings({ host, port, database }: ConnectionSettings): string {
  return `${host}:${port}/${database}`
}
