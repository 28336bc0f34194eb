import { crashPoint } from '../../internal/crash-point.ts'
import type { CrashPoint } from '../../internal/crash-points.ts'
import type { Row } from '../../message/transaction.ts'
import type { HeldRow, OutboxPage, OwnerClaim, RefusedRow } from '../../outbox/port.ts'
import { readPage } from './page-reader.ts'
import { holdingFilter } from './held-rows.ts'
import * as relay from './queries/relay.ts'
import type { StreamScope } from './queries/relay.ts'
import { own, type OwnedRow, relinquish } from './relay-ownership.ts'
import { begin, commit, rollback } from './relay-transaction.ts'
import type { Session } from './session.ts'
import type { Statement } from './statement-run.ts'

/** The session that owns a stream of the outbox: what the relay's two ways of reading have in common. */
export class StreamOwner {
  readonly session: Session
  readonly scope: StreamScope
  #epoch = '0'
  #owner = false
  #leaseMs = 0
  #lastPage = 0

  constructor(session: Session, scope: StreamScope) {
    this.session = session
    this.scope = scope
  }

  /** Pages are much like the one before: room for so many bytes, and a tenth more, is not too little and seldom too much. */
  get expectedPage(): number {
    return Math.ceil(this.#lastPage * 1.1)
  }

  get epoch(): string {
    return this.#epoch
  }

  async takeOver(claim: OwnerClaim): Promise<OwnedRow | null> {
    const owned = await own(this.session, this.scope, claim)
    if (owned === null) return null
    this.#epoch = String(owned.row.epoch)
    this.#leaseMs = claim.leaseMs
    this.#owner = true
    return owned
  }

  /**
   * Runs the statements in one transaction while the stream is still this owner's and stands at this tick. `false`: it is not, nothing was done.
   * `middle` names the place between the two round trips.
   */
  run(tick: number, statements: readonly Statement[], middle: CrashPoint): Promise<boolean> {
    return this.runAfter(relay.lockOwned(this.scope, this.#epoch, tick), statements, middle)
  }

  /** The same with another statement in the first round trip, which locks the stream's row, or finds none. */
  async runAfter(first: Statement, statements: readonly Statement[], middle: CrashPoint): Promise<boolean> {
    const [, , found] = await this.session.run([begin, relay.endStandstill(this.#leaseMs), first])
    crashPoint(middle)
    await this.session.run(found!.count === 0 ? [rollback] : [...statements, commit])
    return found!.count > 0
  }

  /** The page that was read behind `after`: the rows of parked keys apart, those that are skipped left out. */
  page(copied: Buffer, holding: readonly Row[], after: string, limit: number): OutboxPage {
    this.#lastPage = copied.length
    const { rows, skipped, last, full } = readPage(copied, limit)
    const { sent, held } = holdingFilter(skipped.size === 0 ? rows : rows.filter((row) => !skipped.has(row)), holding)
    return { rows: sent, held, last: last ?? after, full }
  }

  /** Notes the held rows of a page. */
  hold(held: readonly HeldRow[]): Statement[] {
    if (held.length === 0) return []
    const rows = held.map((row) => ({ ...row, seq: String(row.seq) }))
    return [relay.hold(this.scope, rows)]
  }

  park(tick: number, refused: readonly RefusedRow[]): Promise<boolean> {
    const rows = refused.map(({ row, reason }) => ({ ...row, seq: String(row.seq), reason }))
    return this.run(tick, [relay.park(this.scope, rows)], 'relay:mid-park')
  }

  async noteTopics(topics: readonly string[]): Promise<void> {
    await this.session.run([relay.noteTopics(this.scope, topics)])
  }

  async beat(): Promise<boolean> {
    // One statement, without a transaction of its own: it may fall between two round trips of one that is open.
    const [beaten] = await this.session.run([relay.beat(this.scope, this.#epoch)])
    return beaten!.count > 0
  }

  async close(outcome: 'stopped' | 'broken'): Promise<void> {
    await relinquish(this.session, this.#owner ? relay.yieldStream(this.scope, this.#epoch) : null, outcome)
  }
}
