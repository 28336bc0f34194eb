import type { BatchEnd, BatchTransaction, CommitOutcome, LanePosition, LaneRef } from '../../consumer/port.ts'
import { TidemarkError } from '../../errors.ts'
import { crashPoint, crashPointsArmed } from '../../internal/crash-point.ts'
import type { Row, Transaction } from '../../message/transaction.ts'
import { connectionError, rollBack, transactionOn } from './database.ts'
import { quotedSchema } from './migrations/schema-name.ts'
import { insertDeadLetter } from './queries/dead-letter.ts'
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

  constructor(session: Session, settings: BatchSettings) {
    this.#session = session
    this.#settings = settings
    this.tx = transactionOn(session)
    const { text, params } = lockLane(settings.schema, settings.lane)
    // A failure of these shows in whatever follows.
    session.query('begin isolation level read committed').catch(() => undefined)
    session.query(text, params).catch(() => undefined)
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
    if (failed !== undefined) return this.#undone(rootOf([moving, work]))
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
    const steps = [...before.map((one) => this.#ask(one))]
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
    const moving = this.#session.run([...before, fence]).then((results) => placeOf(results.at(-1)!.rows))
    if (await moving.then(alwaysFalse, alwaysTrue)) return { fence: moving, others: nothing, end: nothing }
    crashPoint('consumer:after-compare-and-set')
    const others = this.#session.run(after)
    if (await others.then(alwaysFalse, alwaysTrue)) return { fence: moving, others, end: nothing }
    crashPoint('consumer:after-appends')
    return { fence: moving, others, end: this.#session.run([commitStatement]) }
  }

  #statements(batch: BatchEnd): { readonly before: Statement[]; readonly fence: Statement; readonly after: Statement[] } {
    const { schema, lane, standstillMs } = this.#settings
    const quoted = quotedSchema(schema)
    return {
      before: [standstill(standstillMs), ...appendStatements(schema, batch.publish)],
      fence: compareAndSet(quoted, lane, batch.position, batch.nextOffset, batch.highWater),
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
  async #undone(error: unknown): Promise<CommitOutcome> {
    const outcome = refusal(error)
    if (outcome === null && this.#session.broken !== null) throw this.#lost(error)
    await this.rollBack()
    if (outcome === null) throw appendError(error)
    return { outcome }
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

const commitStatement: Statement = { text: 'commit' }

/** Ends a transaction that holds the position's row and whose process stands still. */
function standstill(ms: number): Statement {
  return { text: `select set_config('idle_in_transaction_session_timeout', $1, true)`, params: [String(ms)] }
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

function moved({ position, nextOffset, highWater }: BatchEnd, at: string | null): LanePosition {
  return { ...position, nextOffset, highWater, at }
}

/** What `consumer_require` raised, if it did. */
function refusal(error: unknown): 'moved' | 'released' | 'duplicate' | null {
  if (!(error instanceof Error) || !('code' in error) || error.code !== 'TMC01') return null
  return error.message === 'moved' || error.message === 'released' || error.message === 'duplicate' ? error.message : null
}
