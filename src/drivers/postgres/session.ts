import type { PoolClient } from 'pg'
import { TidemarkError } from '../../errors.ts'
import { systemClock, within } from '../../internal/clock.ts'
import type { Row } from '../../message/transaction.ts'
import { type Parse, type ParserOf, ownParser, parserOfPg } from './column-parsers.ts'
import { type CancellableClient, cancelStatements } from './cancel-statements.ts'
import { isConnectionFailure } from './connection-failure.ts'
import { copyRefusal } from './copy-refusal.ts'
import {
  type Deliver,
  type PreparedStatement,
  type Statement,
  type StatementResult,
  StatementRun,
  prepareStatement,
} from './statement-run.ts'

/** What a session needs of a `pg` client, checked against the real one by a type test. */
export interface SessionClient extends Pick<PoolClient, 'query' | 'release' | 'on' | 'off'>, CancellableClient {
  getTransactionStatus(): string | null
  /** How this client reads columns; without it, as `pg` does. */
  getTypeParser?(typeId: number, format: 'text'): unknown
}

/** How long a session that is given up is kept for the sake of a request to cancel what it has under way. */
const cancelPatienceMs = 1_000
/** When a request to cancel that had no effect is made again. */
const cancelAgainMs = 50

/**
 * A leased connection that sends what is asked of it in the same turn of the event loop as one round trip (see `StatementRun`).
 *
 * Order is the order of the calls. One run is in flight at a time; what is asked meanwhile is gathered for the next one. Not for two owners.
 */
export class Session {
  readonly #client: SessionClient
  #asked: Asked[] = []
  #inFlight: Promise<void> | null = null
  #scheduled: NodeJS.Immediate | null = null
  #broken: Error | null = null
  #failed = false
  #isShared = false
  /** Errors that statements of this session were answered with. */
  readonly #answers = new WeakSet<object>()
  readonly #onError = (error: Error): void => {
    this.#broken ??= error
  }
  /** For the application's statements: columns as its client reads them. */
  readonly clientParser: ParserOf = (typeId) => (this.#client.getTypeParser?.(typeId, 'text') as Parse | undefined) ?? parserOfPg(typeId)

  constructor(client: SessionClient) {
    this.#client = client
    // A lost connection is reported here as well as to the statement in flight; without a listener it would end the process.
    client.on('error', this.#onError)
  }

  /** The error that ended the connection, if one did. */
  get broken(): Error | null {
    return this.#broken
  }

  /** Did the server answer a statement of this session with this error? Of what is done with the client itself nobody knows, so it may be. */
  answeredWith(error: object): boolean {
    return this.#isShared || this.#answers.has(error)
  }

  /** The client itself, after everything asked so far has been handed to it. What is done with it is not seen here. */
  get client(): SessionClient {
    this.#isShared = true
    while (this.#asked.length > 0) this.flush()
    return this.#client
  }

  /**
   * Asks for one statement; it leaves with whatever else is asked in this turn. A text with several commands, which only the simple protocol
   * takes, goes alone. Rejects with the server's error, or `StatementSkipped` when an earlier statement of the round trip failed, and with
   * `INPUT_INVALID` for a `COPY` by the client, which is not sent. `parserOf` reads the columns: `ownParser`, or `clientParser` for the
   * application's statements.
   */
  query<R extends Row = Row>(text: string, params: readonly unknown[] = none, parserOf: ParserOf = ownParser): Promise<R[]> {
    const isScript = params === none && hasSeveralCommands(text)
    const refusal = copyRefusal(text, isScript)
    if (refusal !== null) return Promise.reject(refusal)
    if (isScript) return this.script(text)
    if (this.#broken !== null) return Promise.reject(this.#broken)
    return new Promise((resolve, reject) => {
      this.#asked.push({ statement: prepareStatement({ text, params }, parserOf), deliver: this.#rowsTo(resolve, reject) })
      if (this.#inFlight === null) this.#scheduled ??= setImmediate(() => this.flush())
    })
  }

  /** Asks for several statements and sends at once. Rejects with the first error; use the results in order. */
  run(statements: readonly Statement[]): Promise<StatementResult[]> {
    if (this.#broken !== null) return Promise.reject(this.#broken)
    return new Promise((resolve, reject) => {
      const prepared = statements.map((statement) => prepareStatement(statement))
      const results: StatementResult[] = []
      for (const statement of prepared) {
        const deliver: Deliver = (error, result) => {
          if (result === null) {
            this.#fail(error)
            reject(error)
          } else if (results.push(result) === prepared.length) resolve(results)
        }
        this.#asked.push({ statement, deliver })
      }
      if (prepared.length === 0) resolve(results)
      if (this.#inFlight === null) this.flush()
    })
  }

  /** Runs a script of several commands by the simple protocol, alone, in its turn. Returns the rows of its last command. */
  script<R extends Row = Row>(text: string): Promise<R[]> {
    if (this.#broken !== null) return Promise.reject(this.#broken)
    return new Promise((resolve, reject) => {
      this.#asked.push({ script: text, deliver: this.#rowsTo(resolve, reject) })
      if (this.#inFlight === null) this.flush()
    })
  }

  /**
   * What the server says of the transaction now, after all that was asked: `open`, `failed` (only a rollback is possible) or `none`.
   * Costs a round trip only when a statement has failed since the last one, which is how a swallowed error is found out, or the client was handed out.
   */
  async transactionStatus(): Promise<'open' | 'failed' | 'none'> {
    this.flush()
    await this.#settled()
    // The server's word on the transaction follows the error it answered; an empty run waits for it.
    if (this.#failed || this.#isShared) await this.#send(new StatementRun([], []))
    this.#failed = false
    const status = this.#client.getTransactionStatus()
    return status === 'T' ? 'open' : status === 'E' ? 'failed' : 'none'
  }

  /** Sends what has been asked so far, up to the next script, without waiting for the end of the turn. */
  flush(): void {
    if (this.#scheduled !== null) clearImmediate(this.#scheduled)
    this.#scheduled = null
    const [first] = this.#asked
    if (first === undefined) return
    if ('script' in first) {
      this.#asked.shift()
      return this.#sendScript(first)
    }
    const next = this.#asked.findIndex((asked) => 'script' in asked)
    const run = this.#asked.splice(0, next === -1 ? this.#asked.length : next) as AskedStatement[]
    void this.#send(
      new StatementRun(
        run.map(({ statement }) => statement),
        run.map(({ deliver }) => deliver),
      ),
    )
  }

  /** Gives the connection back. With an error, or when it broke, the connection is closed instead of being used again. */
  release(error: Error | boolean = false): void {
    this.#refuseUnsent(this.#broken)
    // A connection that is being closed may still report its end; the listener stays for that.
    const failure = error === false ? this.#broken : error
    if (failure === null) this.#client.off('error', this.#onError)
    this.#client.release(failure ?? undefined)
  }

  /**
   * Closes the connection without waiting for statements under way, which the server is asked to cancel: it would otherwise work on, and keep
   * its locks, for as long as they take. Resolves within about a second. Never rejects.
   */
  async giveUp(): Promise<void> {
    const isAlive = this.#broken === null
    this.#broken ??= new TidemarkError('TRANSACTION_CLOSED', 'The connection was given up.')
    this.#refuseUnsent(this.#broken)
    // Before the connection is closed: a pooler knows only its clients' requests.
    if (isAlive) await this.#cancelled()
    this.release(true)
  }

  /** A request that comes between two statements of a run is lost on the server, so it is made again until the run is answered. */
  async #cancelled(): Promise<void> {
    const deadline = performance.now() + cancelPatienceMs
    const settled = this.#settled()
    while (this.#inFlight !== null && performance.now() < deadline) {
      if (!(await cancelStatements(this.#client, deadline - performance.now()))) return
      await within(systemClock, cancelAgainMs, settled)
    }
  }

  #refuseUnsent(reason: Error | null): void {
    if (this.#scheduled !== null) clearImmediate(this.#scheduled)
    const unsent = this.#asked
    this.#asked = []
    if (unsent.length === 0) return
    const closed = reason ?? new TidemarkError('TRANSACTION_CLOSED', 'The connection was given back before this statement was sent.')
    for (const { deliver } of unsent) deliver(closed, null)
  }

  #rowsTo<R extends Row>(resolve: (rows: R[]) => void, reject: (error: unknown) => void): Deliver {
    return (error, result) => {
      if (result !== null) return resolve(result.rows as R[])
      this.#fail(error)
      reject(error)
    }
  }

  #send(run: StatementRun): Promise<void> {
    this.#client.query(run)
    return this.#underWay(run.done)
  }

  #sendScript({ script, deliver }: AskedScript): void {
    // The type package knows one result; several commands answer with several.
    const answer = this.#client.query(script) as Promise<ScriptResult | ScriptResult[]>
    const done = answer.then(
      (results) => deliver(null, lastOf(results)),
      (error: unknown) => deliver(error, null),
    )
    void this.#underWay(done)
  }

  /** What is asked from now on waits for `done`. */
  #underWay(done: Promise<void>): Promise<void> {
    const sent = done.then(() => {
      if (this.#inFlight !== sent) return
      this.#inFlight = null
      this.flush()
    })
    this.#inFlight = sent
    return sent
  }

  #fail(error: unknown): void {
    this.#failed = true
    if (typeof error === 'object' && error !== null) this.#answers.add(error)
    if (isConnectionFailure(error) && !isWrongCount(error)) this.#broken ??= error
  }

  async #settled(): Promise<void> {
    while (this.#inFlight !== null) await this.#inFlight
  }
}

/** Parameters too few or too many for a statement's text: the server is in step all the same. Of what else has this code nobody knows. */
function isWrongCount(error: Error): boolean {
  return 'code' in error && error.code === '08P01' && 'routine' in error && error.routine === 'exec_bind_message'
}

interface AskedStatement {
  readonly statement: PreparedStatement
  readonly deliver: Deliver
}
interface AskedScript {
  readonly script: string
  readonly deliver: Deliver
}
type Asked = AskedStatement | AskedScript

interface ScriptResult {
  readonly rows: Row[]
  readonly command: string
  readonly rowCount: number | null
}

function lastOf(results: ScriptResult | ScriptResult[]): StatementResult {
  const { rows, command, rowCount } = Array.isArray(results) ? results.at(-1)! : results
  return { rows, command, count: rowCount ?? 0 }
}

const none: readonly unknown[] = []

/** Might this text hold more than one command? A semicolon inside a literal is taken for one too, which only costs a round trip. */
function hasSeveralCommands(text: string): boolean {
  const semicolon = text.indexOf(';')
  return semicolon !== -1 && text.slice(semicolon + 1).trim() !== ''
}
