import type { HandlerTransaction } from '../../consumer/port.ts'
import { TidemarkError } from '../../errors.ts'
import { crashPoint, crashPointsArmed } from '../../internal/crash-point.ts'
import type { CrashPoint } from '../../internal/crash-points.ts'
import type { Row, Transaction } from '../../message/transaction.ts'
import { connectionError, rollBack, transactionOn } from './database.ts'
import { quotedSchema } from './migrations/schema-name.ts'
import { restored } from './queries/handler-settings.ts'
import { findHandled } from './queries/inbox.ts'
import { appendError } from './queries/outbox.ts'
import type { Session } from './session.ts'
import { type Statement, StatementSkipped } from './statement-run.ts'

/** Our own statements for the end of a transaction, in their order. */
export interface LastStatements {
  /** What was published. Before any row of ours is locked. */
  readonly publish: readonly Statement[]
  /** Locks the row that says whether all of this counts, and fails if it does not. */
  readonly fence: Statement
  readonly after: readonly Statement[]
  /** Places where a test may stop the process: after the handlers, after the fence, after the rest, after the commit. */
  readonly crashPoints: readonly [CrashPoint, CrashPoint, CrashPoint, CrashPoint]
}

/** Why our own statements did not go through, by the word that `consumer_require` raised. */
export type Refusal = 'moved' | 'released' | 'duplicate' | 'full'

export type EndOutcome =
  /** The rows of the fence, and of what came after it. */
  | { readonly outcome: 'committed'; readonly fence: readonly Row[]; readonly after: readonly (readonly Row[])[] }
  | { readonly outcome: Refusal }
  | { readonly outcome: 'refused'; readonly error: unknown }

export interface HandlerTransactionSettings {
  readonly schema: string
  readonly group: string
  readonly standstillMs: number
  /** Reads the settings as they are before a handler may change them. */
  readonly first: Statement
}

/** A transaction in which handlers run, on a session of its own. `begin` and the first statement leave with whatever is asked next. */
export class PostgresHandlerTransaction implements HandlerTransaction {
  readonly tx: Transaction
  readonly #session: Session
  readonly #settings: HandlerTransactionSettings
  #ended = false
  #marks = 0
  /** As they were before the first handler. `null`: not answered yet, so no handler has asked for anything either. */
  #settingsFound: Row | null = null

  constructor(session: Session, settings: HandlerTransactionSettings) {
    this.#session = session
    this.#settings = settings
    this.tx = transactionOn(session)
    const { text, params } = settings.first
    // A failure of these shows in whatever follows.
    session.query(beginStatement.text).catch(() => undefined)
    session.query(text, params).then(
      ([row]) => (this.#settingsFound = row!),
      () => undefined,
    )
  }

  async alreadyHandled(identities: readonly string[]): Promise<ReadonlySet<string>> {
    const { schema, group } = this.#settings
    try {
      const [found] = await this.#session.run([findHandled(quotedSchema(schema), group, identities)])
      return new Set(found!.rows.map((row) => String(row['identity'])))
    } catch (error) {
      throw connectionError(error, this.#session)
    }
  }

  status(): Promise<'open' | 'failed' | 'none'> {
    return this.#session.transactionStatus()
  }

  blame(error: unknown): 'handler' | 'conflict' | 'lost' {
    if (this.#session.broken !== null) return 'lost'
    // Errors of other servers have codes, too, and say nothing of this one.
    const code = serverCode(error, this.#session)
    if (code === deadlockDetected || code === serializationFailure) return 'conflict'
    return code?.startsWith('57P') === true ? 'lost' : 'handler'
  }

  mark(): void {
    // One savepoint at a time: they pile up otherwise, and each one that has written costs every snapshot on the server.
    if (this.#marks > 0) void this.#ask({ text: `release savepoint ${this.#markName}` })
    this.#marks += 1
    void this.#ask({ text: `savepoint ${this.#markName}` })
  }

  async undo(): Promise<boolean> {
    try {
      await this.#session.run([{ text: `rollback to savepoint ${this.#markName}` }])
      return (await this.status()) === 'open'
    } catch {
      return false
    }
  }

  /** Another one each time: where a mark could not be made, nobody goes back to the one before it. And not one that a handler would think of. */
  get #markName(): string {
    return `tidemark_mark_${this.#marks}`
  }

  async rollBack(how?: 'at once'): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    if (how === 'at once') await this.#session.giveUp()
    else this.#session.release(await rollBack(this.#session))
  }

  /**
   * Sends all of it with the commit in one round trip. Anything but `committed` has rolled back. Rejects with `COMMIT_UNKNOWN` when the reply was lost;
   * else nothing was committed, and the error says why.
   */
  protected async end(last: LastStatements): Promise<EndOutcome> {
    crashPoint(last.crashPoints[0])
    const { fence, others, end } = crashPointsArmed ? await this.#stepByStep(last) : this.#atOnce(last)
    const [fenced, work, ending] = await Promise.allSettled([fence, others, end])
    const failed = [fenced, work].find((step) => step.status === 'rejected')
    if (fenced.status === 'fulfilled' && work.status === 'fulfilled' && ending.status === 'fulfilled') {
      this.#release(false)
      crashPoint(last.crashPoints[3])
      return { outcome: 'committed', fence: fenced.value, after: work.value }
    }
    if (failed !== undefined) return this.#undone(rootOf([fenced, work]), last)
    return this.#uncertain((ending as PromiseRejectedResult).reason)
  }

  /** All in one round trip: a failing statement keeps the commit from being reached, and nobody can stand still in between. */
  #atOnce({ publish, fence, after }: LastStatements): EndSteps {
    const before = [this.#restored(), ...publish].map((one) => this.#ask(one))
    const fenced = this.#ask(fence)
    const steps = after.map((one) => this.#ask(one))
    const end = this.#ask(commitStatement)
    this.#session.flush()
    return { fence: Promise.all(before).then(() => fenced), others: Promise.all(steps), end }
  }

  /** The same in several round trips, for tests that stop the process between them. */
  async #stepByStep({ publish, fence, after, crashPoints }: LastStatements): Promise<EndSteps> {
    const nothing = Promise.resolve([])
    const fenced = this.#session.run([this.#restored(), ...publish, fence]).then((results) => results.at(-1)!.rows)
    if (await fenced.then(alwaysFalse, alwaysTrue)) return { fence: fenced, others: nothing, end: nothing }
    crashPoint(crashPoints[1])
    const others = this.#session.run(after).then((results) => results.map(({ rows }) => rows))
    if (await others.then(alwaysFalse, alwaysTrue)) return { fence: fenced, others, end: nothing }
    crashPoint(crashPoints[2])
    return { fence: fenced, others, end: this.#session.run([commitStatement]) }
  }

  #ask({ text, params }: Statement): Promise<Row[]> {
    const answer = this.#session.query(text, params ?? [])
    // Every one is awaited, or shows in what follows.
    answer.catch(() => undefined)
    return answer
  }

  /** A statement before the commit failed, so the commit was never reached. */
  async #undone(error: unknown, last: LastStatements): Promise<EndOutcome> {
    const outcome = refusal(error)
    if (outcome === null && this.#session.broken !== null) throw this.#lost(error)
    if (outcome === null && isOfStatement(error, this.#session)) return this.#judged(error, last)
    await this.rollBack()
    if (outcome === null) throw appendError(error)
    return { outcome }
  }

  /** Whose fault is it that our own statement failed? The handlers', if without theirs it does not. */
  async #judged(error: unknown, last: LastStatements): Promise<EndOutcome> {
    const alone = await this.#rehearse(last)
    const refused = refusal(alone)
    // What was published may be something that the server cannot store.
    const isTheirs =
      alone === null ||
      (isOfData(alone, this.#session) && last.publish.length > 0 && (await this.#rehearse({ ...last, publish: [] })) === null)
    if (isTheirs || refused !== null) {
      await this.rollBack()
      return refused === null ? { outcome: 'refused', error } : { outcome: refused }
    }
    // Not given back: if somebody has changed the settings of this very connection, another one may work.
    this.#release(true)
    throw appendError(this.#session.broken === null ? error : connectionError(error, this.#session))
  }

  /** Undoes everything and runs our own statements by themselves, up to the commit. Returns what fails, else `null`. */
  async #rehearse({ publish, fence, after }: LastStatements): Promise<unknown> {
    try {
      await this.#session.run([{ text: 'rollback' }])
      await this.#session.run([beginStatement, this.#restored(), ...publish, fence, ...after])
      return null
    } catch (error) {
      return error
    }
  }

  #restored(): Statement {
    return restored(this.#settingsFound, this.#settings.standstillMs)
  }

  /** The commit itself failed: refused by the server, or its reply was lost. */
  #uncertain(error: unknown): EndOutcome {
    const code = this.#session.broken === null ? serverCode(error, this.#session) : null
    if (code === null || this.blame(error) === 'lost') throw this.#lost(error)
    this.#release(true)
    if (this.blame(error) === 'conflict') throw error
    return { outcome: 'refused', error }
  }

  /** Whatever was on the wire when the connection broke may have reached the server whole, the commit included. */
  #lost(cause: unknown): TidemarkError {
    this.#release(true)
    return new TidemarkError('COMMIT_UNKNOWN', 'The connection to Postgres broke during a commit; its outcome is unknown.', { cause })
  }

  #release(error: Error | boolean): void {
    if (this.#ended) return
    this.#ended = true
    this.#session.release(error)
  }
}

interface EndSteps {
  readonly fence: Promise<readonly Row[]>
  readonly others: Promise<readonly (readonly Row[])[]>
  readonly end: Promise<unknown>
}

const deadlockDetected = '40P01'
const serializationFailure = '40001'
const alwaysTrue = (): boolean => true
const alwaysFalse = (): boolean => false

/** The failure that made the others fail: those say only that they were skipped. */
function rootOf(steps: readonly PromiseSettledResult<unknown>[]): unknown {
  const reasons = steps.flatMap((step) => (step.status === 'rejected' ? [step.reason as unknown] : []))
  return reasons.find((reason) => !(reason instanceof StatementSkipped)) ?? reasons[0]
}

/**
 * The SQLSTATE of what the server said in this session, also where a client's library wrapped it. Other programs' error codes are none of it. Never throws,
 * whatever was thrown.
 */
function serverCode(error: unknown, session: Session, depth = 3): string | null {
  try {
    if (!(error instanceof Error) || depth === 0) return null
    if (session.answeredWith(error) && 'code' in error && 'severity' in error && typeof error.code === 'string') return error.code
    return serverCode(error.cause, session, depth - 1)
  } catch {
    return null
  }
}

const beginStatement: Statement = { text: 'begin isolation level read committed' }
const commitStatement: Statement = { text: 'commit' }

/** Did a statement fail for what it is, rather than for the state of the server or somebody else's doing? By the classes of SQLSTATE. */
function isOfStatement(error: unknown, session: Session): boolean {
  const code = serverCode(error, session)
  return code !== null && !/^(?:08|40|53|55|57|58|XX|25P)/.test(code)
}

function isOfData(error: unknown, session: Session): boolean {
  return serverCode(error, session)?.startsWith('22') === true
}

/** What `consumer_require` raised, if it did. */
export function refusal(error: unknown): Refusal | null {
  if (!(error instanceof Error) || !('code' in error) || error.code !== 'TMC01') return null
  return (['moved', 'released', 'duplicate', 'full'] as const).find((one) => one === error.message) ?? null
}
