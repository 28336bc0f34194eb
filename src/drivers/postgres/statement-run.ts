import type { Connection, Submittable } from 'pg'
import { TidemarkError } from '../../errors.ts'
import type { Row } from '../../message/transaction.ts'
import { prepareValue } from 'pg/lib/utils.js'
import { type Parse, type ParserOf, ownParser } from './column-parsers.ts'
import { GrowingBuffer } from './growing-buffer.ts'
import { WireWriter } from './wire-writer.ts'

/** One statement with `$1`-style parameters. */
export interface Statement {
  readonly text: string
  readonly params?: readonly unknown[]
  /** For a `COPY … TO STDOUT`, whose bytes are wanted as they come: about how many are expected, 0 where nobody knows. */
  readonly copyBytes?: number
}

/** A statement whose parameters are already in wire form, so that sending it cannot fail half-way. */
export interface PreparedStatement {
  readonly text: string
  readonly values: readonly (string | Buffer | null)[]
  readonly parserOf: ParserOf
  readonly copyBytes: number | undefined
}

/** The protocol counts them in two bytes. */
const mostParams = 65_535

/**
 * Brings the parameters into wire form. Throws what `pg` throws for a value that has none, and `INPUT_INVALID` for more parameters than a statement can have.
 * `parserOf` reads the columns of the answer.
 */
export function prepareStatement({ text, params = [], copyBytes }: Statement, parserOf: ParserOf = ownParser): PreparedStatement {
  if (params.length > mostParams) {
    throw new TidemarkError('INPUT_INVALID', `A statement takes ${mostParams} parameters at most, got ${params.length}.`, {
      remedy: 'Pass arrays, and read them with unnest($1::text[]).',
    })
  }
  return { text, values: params.map(prepareValue), parserOf, copyBytes }
}

/** What one statement of a run answered. */
export interface StatementResult<R extends Row = Row> {
  readonly rows: R[]
  /** The command tag's first word: `INSERT`, `UPDATE`, `COMMIT`, and `ROLLBACK` for a `COMMIT` that the server refused. */
  readonly command: string
  /** Rows inserted, updated, deleted or returned. */
  readonly count: number
  /** What a copy sent, one piece after the other. */
  readonly copied?: Buffer
}

/** Why a statement of a run did not run: an earlier one failed, and the server skips the rest. */
export class StatementSkipped extends Error {
  override readonly name = 'StatementSkipped'
  constructor(cause: unknown) {
    super('not run, because an earlier statement of the same round trip failed', { cause })
  }
}

/** The server says it, too, when it is told that no rows come. */
const copyRefused = 'COPY FROM STDIN and TO STDOUT are not possible through tx.query; use tx.raw'

/** Room to begin with. */
const leastCopyBytes = 16_384

interface Field {
  readonly name: string
  readonly dataTypeID: number
}
/** Takes the outcome of one statement: an error, or a result. */
export type Deliver = (error: unknown, result: StatementResult | null) => void

/** Calls of `pg`'s connection that its type package leaves out. */
interface CopyRefusal {
  sendCopyFail(message: string): void
  sync(): void
}

/**
 * Many statements in one round trip: parse, bind and execute of each, with a single Sync at the end.
 *
 * The server answers in one flush instead of one per statement, which is what makes a handler per message affordable.
 * The unnamed prepared statement and its columns are used again while the text stays the same, so nothing is left on the connection and a
 * transaction pooler may stand between. After an error the server skips to the Sync: the failed statement rejects with the server's error,
 * all later ones with `StatementSkipped`. Outside `BEGIN` the run is one implicit transaction.
 *
 * Works on any `pg` client through its public `Submittable` interface, except one made with `pipeline: true`.
 */
export class StatementRun implements Submittable {
  readonly #statements: readonly PreparedStatement[]
  readonly #deliver: readonly Deliver[]
  #next = 0
  #rows: Row[] = []
  #fields: readonly Field[] | null = null
  #parsers: Parse[] = []
  #refusedCopy = false
  #copied: GrowingBuffer | null = null
  #finished: () => void = () => undefined
  /** Resolves when the server is ready for the next run, after all results were delivered. Never rejects. */
  readonly done: Promise<void>

  /** `deliver[i]` is called once with the outcome of `statements[i]`, in order. */
  constructor(statements: readonly PreparedStatement[], deliver: readonly Deliver[]) {
    this.#statements = statements
    this.#deliver = deliver
    this.done = new Promise((resolve) => (this.#finished = resolve))
  }

  submit(connection: Pick<Connection, 'stream'>): void {
    const writer = new WireWriter(64 + this.#statements.length * 128)
    let former: PreparedStatement | undefined
    for (const statement of this.#statements) {
      const isNew = !isRepeat(statement, former)
      former = statement
      if (isNew) writer.parse(statement.text)
      writer.bind(statement.values)
      // The columns of a statement that comes again are known from its first time.
      if (isNew) writer.describe()
      writer.execute()
    }
    writer.sync()
    // A socket that is gone answers by the client's own error.
    if (connection.stream.writable) connection.stream.write(writer.bytes)
  }

  handleRowDescription(message: { fields: Field[] }): void {
    this.#fields = message.fields
    const { parserOf } = this.#statements[this.#next]!
    this.#parsers = message.fields.map((field) => parserOf(field.dataTypeID))
  }

  handleDataRow(message: { fields: (string | null)[] }): void {
    const row: Row = {}
    const fields = this.#fields!
    for (let i = 0; i < fields.length; i++) {
      const text = message.fields[i]!
      row[fields[i]!.name] = text === null ? null : this.#parsers[i]!(text)
    }
    this.#rows.push(row)
  }

  handleCommandComplete(message: { text: string }): void {
    if (this.#refusedCopy) return this.#settle(new TidemarkError('INPUT_INVALID', copyRefused), null)
    const words = message.text.split(' ')
    const result = { rows: this.#rows, command: words[0]!, count: Number(words.at(-1)) || 0 }
    this.#settle(null, this.#copied === null ? result : { ...result, copied: this.#copied.bytes })
  }

  handleEmptyQuery(): void {
    this.#settle(null, { rows: [], command: '', count: 0 })
  }

  handleReadyForQuery(): void {
    this.#finished()
  }

  /** Called for the server's error, and for a lost connection. Later statements were skipped by the server, or will never be answered. */
  handleError(error: unknown): void {
    if (this.#next < this.#deliver.length) this.#settle(error, null)
    while (this.#next < this.#deliver.length) this.#settle(new StatementSkipped(error), null)
    this.#finished()
  }

  handlePortalSuspended(): void {}

  /** `COPY … FROM STDIN` has no place in a run: refusing ends the statement with an error. */
  handleCopyInResponse(connection: CopyRefusal): void {
    connection.sendCopyFail(copyRefused)
    // The server ignores a Sync while it waits for rows, which the run's is if nothing stands between. Otherwise it meets the next statement instead
    // of rows, fails by that and gives the connection up, which is why `Session.query` lets no such text come so far.
    if (this.#next === this.#statements.length - 1) connection.sync()
  }

  /** Rows of `COPY … TO STDOUT`, which has a place here only where it was asked for. `pg` uses the memory of a chunk again, so it is copied at once. */
  handleCopyData({ chunk }: { readonly chunk: Buffer }): void {
    const { copyBytes } = this.#statements[this.#next]!
    if (copyBytes === undefined) this.#refusedCopy = true
    else (this.#copied ??= new GrowingBuffer(Math.max(copyBytes, leastCopyBytes))).append(chunk)
  }

  #settle(error: unknown, result: StatementResult | null): void {
    const at = this.#next++
    this.#rows = []
    this.#refusedCopy = false
    this.#copied = null
    if (!isRepeat(this.#statements[this.#next], this.#statements[at])) this.#fields = null
    this.#deliver[at]?.(error, result)
  }
}

/** Is it the statement before it once more, with other values? */
function isRepeat(statement: PreparedStatement | undefined, former: PreparedStatement | undefined): boolean {
  return statement?.text === former?.text && statement?.parserOf === former?.parserOf
}
