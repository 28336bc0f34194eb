import type { BatchEnd, BatchTransaction, CommitOutcome, LanePosition, LaneRef } from '../../consumer/port.ts'
import { TidemarkError } from '../../errors.ts'
import { crashPoint, crashPointsArmed } from '../../internal/crash-point.ts'
import type { Row, Transaction } from '../../message/transaction.ts'
import { connectionError, rollBack, transactionOn } from './database.ts'
import { quotedSchema } from './migrations/schema-name.ts'
import { insertDeadLetter } from './queries/dead-letter.ts'
import { restored } from './queries/handler-settings.ts'
import { findHandled, rememberHandled } from './queries/inbox.ts'
import { lockLane } from './queries/lane-lock.ts'
import { appendError, appendStatements } from './queries/outbox.ts'
import { appendParked, lockKeys, parkKey } from './queries/parked.ts'
import { compareAndSet } from './queries/position.ts'
import type { Session } from './session.ts'
import { type Statement, StatementSkipped } from './statement-run.ts'

interface BatchSettings {
  readonly schema: string
  readonly lane: LaneRef
  readonly standstillMs: number
}

/** A lane batch's transaction on a session of its own. `begin` and the lane's lock leave with the first statement. */
export class PostgresBatch implements BatchTransaction {
  readonly tx: Transaction
  readonly #session: Session
  readonly #settings: BatchSettings
  #ended = false
  /** As they were before the first handler. `null`: not answered yet, so no handler has asked for anything either. */
  #settingsFound: Row | null = null

  constructor(session: Session, settings: BatchSettings) {
    this.#session = session
    this.#settings = settings
    this.tx = transactionOn(session)
    const { text, params } = lockLane(settings.schema, settings.lane)
    // A failure of these shows in whatever follows.
    session.query(beginStatement.text).catch(() => undefined)
    session.query(text, params).then(
      ([row]) => (this.#settingsFound = row!),
      () => undefined,
    )
  }

  async alreadyHandled(identities: readonly string[]): Promise<ReadonlySet<string>> {
    const { schema, lane } = this.#settings
    try {
      const [found] = await this.#session.run([findHandled(quotedSchema(schema), lane.group, identities)])
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
    const code = serverCode(error)
    if (code === null) return 'handler'
    if (code === deadlockDetected || code === serializationFailure) return 'conflict'
    return code.startsWith('08') || code.startsWith('57P') ? 'lost' : 'handler'
  }

  async commit(batch: BatchEnd): Promise<CommitOutcome> {
    crashPoint('consumer:after-handlers')
    const { fence, others, end } = crashPointsArmed ? await this.#stepByStep(batch) : this.#atOnce(batch)
    const [moving, work, ending] = await Promise.allSettled([fence, others, end])
    const failed = [moving, work].find((step) => step.status === 'rejected')
    if (moving.status === 'fulfilled' && ending.status === 'fulfilled' && failed === undefined) {
      this.#release(false)
      crashPoint('consumer:after-commit')
      return { outcome: 'committed', position: moved(batch, moving.value) }
    }
    if (failed !== undefined) return this.#undone(rootOf([moving, work]), batch)
    return this.#uncertain((ending as PromiseRejectedResult).reason)
  }

  async rollBack(how?: 'at once'): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    if (how === 'at once') await this.#session.giveUp()
    else this.#session.release(await rollBack(this.#session))
  }

  /** All in one round trip: a failing statement keeps the commit from being reached, and nobody can stand still in between. */
  #atOnce(batch: BatchEnd): CommitSteps {
    const { before, fence, after } = this.#statements(batch)
    const steps = [this.#restored(), ...before].map((one) => this.#ask(one))
    const fenced = this.#ask(fence)
    steps.push(...after.map((one) => this.#ask(one)))
    const end = this.#ask(commitStatement)
    this.#session.flush()
    return { fence: fenced.then(placeOf), others: Promise.all(steps), end }
  }

  /** The same in several round trips, for tests that stop the process between them. */
  async #stepByStep(batch: BatchEnd): Promise<CommitSteps> {
    const { before, fence, after } = this.#statements(batch)
    const nothing = Promise.resolve([])
    const moving = this.#session.run([this.#restored(), ...before, fence]).then((results) => placeOf(results.at(-1)!.rows))
    if (await moving.then(alwaysFalse, alwaysTrue)) return { fence: moving, others: nothing, end: nothing }
    crashPoint('consumer:after-compare-and-set')
    const others = this.#session.run(after)
    if (await others.then(alwaysFalse, alwaysTrue)) return { fence: moving, others, end: nothing }
    crashPoint('consumer:after-appends')
    return { fence: moving, others, end: this.#session.run([commitStatement]) }
  }

  #statements(batch: BatchEnd): { readonly before: Statement[]; readonly fence: Statement; readonly after: Statement[] } {
    const { schema, lane } = this.#settings
    const quoted = quotedSchema(schema)
    return {
      before: appendStatements(schema, batch.publish),
      fence: compareAndSet(quoted, lane, batch),
      after: [...queueing(quoted, lane, batch), ...burial(quoted, lane, batch), ...remembering(quoted, lane, batch)],
    }
  }

  #ask({ text, params }: Statement): Promise<Row[]> {
    const answer = this.#session.query(text, params ?? [])
    // Every one is awaited, but not before another may have failed.
    answer.catch(() => undefined)
    return answer
  }

  /** A statement before the commit failed, so the commit was never reached. */
  async #undone(error: unknown, batch: BatchEnd): Promise<CommitOutcome> {
    const outcome = refusal(error)
    if (outcome === null && this.#session.broken !== null) throw this.#lost(error)
    if (outcome === null && isOfStatement(error)) return this.#judged(error, batch)
    await this.rollBack()
    if (outcome === null) throw appendError(error)
    return { outcome }
  }

  /** Whose fault is it that our own statement failed? The handlers', if without theirs it does not. */
  async #judged(error: unknown, batch: BatchEnd): Promise<CommitOutcome> {
    const alone = await this.#rehearse(batch)
    const refused = refusal(alone)
    // What was published may be something that the server cannot store.
    const isTheirs =
      alone === null || (isOfData(alone) && batch.publish.length > 0 && (await this.#rehearse({ ...batch, publish: [] })) === null)
    if (isTheirs || refused !== null) {
      await this.rollBack()
      return refused === null ? { outcome: 'refused', error } : { outcome: refused }
    }
    // Not given back: if somebody has changed the settings of this very connection, another one may work.
    this.#release(true)
    throw appendError(this.#session.broken === null ? error : connectionError(error, this.#session))
  }

  /** Undoes everything and runs our own statements by themselves, up to the commit. Returns what fails, else `null`. */
  async #rehearse(batch: BatchEnd): Promise<unknown> {
    const { before, fence, after } = this.#statements(batch)
    try {
      await this.#session.run([{ text: 'rollback' }])
      await this.#session.run([beginStatement, this.#restored(), ...before, fence, ...after])
      return null
    } catch (error) {
      return error
    }
  }

  #restored(): Statement {
    return restored(this.#settingsFound, this.#settings.standstillMs)
  }

  /** The commit itself failed: refused by the server, or its reply was lost. */
  #uncertain(error: unknown): CommitOutcome {
    const code = this.#session.broken === null ? serverCode(error) : null
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

interface CommitSteps {
  /** Where the position's row stands now. */
  readonly fence: Promise<string | null>
  readonly others: Promise<unknown>
  readonly end: Promise<unknown>
}

const deadlockDetected = '40P01'
const serializationFailure = '40001'
const alwaysTrue = (): boolean => true
const alwaysFalse = (): boolean => false

function placeOf(rows: readonly Row[]): string | null {
  return (rows[0]?.['at'] as string | null | undefined) ?? null
}

/** The failure that made the others fail: those say only that they were skipped. */
function rootOf(steps: readonly PromiseSettledResult<unknown>[]): unknown {
  const reasons = steps.flatMap((step) => (step.status === 'rejected' ? [step.reason as unknown] : []))
  return reasons.find((reason) => !(reason instanceof StatementSkipped)) ?? reasons[0]
}

/** The SQLSTATE of what the server said, also where a client's library wrapped it. Other programs' error codes are none of it. */
function serverCode(error: unknown, depth = 3): string | null {
  if (!(error instanceof Error) || depth === 0) return null
  if ('code' in error && 'severity' in error && typeof error.code === 'string') return error.code
  return serverCode(error.cause, depth - 1)
}

const beginStatement: Statement = { text: 'begin isolation level read committed' }
const commitStatement: Statement = { text: 'commit' }

/** Did a statement fail for what it is, rather than for the state of the server or somebody else's doing? By the classes of SQLSTATE. */
function isOfStatement(error: unknown): boolean {
  const code = serverCode(error)
  return code !== null && !/^(?:08|40|53|55|57|58|XX|25P)/.test(code)
}

function isOfData(error: unknown): boolean {
  return serverCode(error)?.startsWith('22') === true
}

/** The locks in a statement before the insert, so that a release we waited for is seen. */
function queueing(schema: string, lane: LaneRef, { queue }: BatchEnd): Statement[] {
  if (queue.length === 0) return []
  const keys = new Map(queue.map(({ key }) => [key!.toString('latin1'), key!]))
  return [lockKeys(schema, lane, [...keys.values()]), appendParked(schema, lane, queue, false)]
}

function burial(schema: string, lane: LaneRef, { deadLetter }: BatchEnd): Statement[] {
  if (deadLetter === null) return []
  const statements = [insertDeadLetter(schema, lane, deadLetter)]
  const { record, policy, reason } = deadLetter
  if (policy === 'skip' || record.key === null) return statements
  return [parkKey(schema, lane, record.key, reason), appendParked(schema, lane, [record], true), ...statements]
}

function remembering(schema: string, lane: LaneRef, { handled }: BatchEnd): Statement[] {
  return handled.length === 0 ? [] : [rememberHandled(schema, lane.group, [...handled].sort())]
}

function moved({ position, nextOffset, leaderEpoch, highWater }: BatchEnd, at: string | null): LanePosition {
  return { ...position, nextOffset, leaderEpoch, highWater, at }
}

/** What `consumer_require` raised, if it did. */
function refusal(error: unknown): 'moved' | 'released' | 'duplicate' | null {
  if (!(error instanceof Error) || !('code' in error) || error.code !== 'TMC01') return null
  return error.message === 'moved' || error.message === 'released' || error.message === 'duplicate' ? error.message : null
}
