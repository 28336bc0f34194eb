import type { Row } from '../../message/transaction.ts'
import type { OutboxPage, OwnerClaim, Probed, RefusedRow, RelayState, RelayStream, Tick } from '../../outbox/port.ts'
import { isFull, outboxRow } from './outbox-row.ts'
import { holdingFilter } from './parked-keys.ts'
import * as relay from './queries/relay.ts'
import type { StreamScope } from './queries/relay.ts'
import { own, relinquish } from './relay-ownership.ts'
import { begin, commit, rollback } from './relay-transaction.ts'
import type { Session } from './session.ts'
import type { Statement } from './statement-run.ts'

/** The relay's side of a stream by snapshot difference. Statements: `queries/relay.ts`. */
export class PostgresRelayStream implements RelayStream {
  readonly #session: Session
  readonly #scope: StreamScope
  #epoch = '0'
  #owner = false

  constructor(session: Session, scope: StreamScope) {
    this.#session = session
    this.#scope = scope
  }

  async takeOver(claim: OwnerClaim): Promise<RelayState | null> {
    const owned = await own(this.#session, this.#scope, claim)
    if (owned === null) return null
    const { row, sourceEpoch, topics, moved } = owned
    this.#epoch = String(row.epoch)
    this.#owner = true
    return {
      epoch: Number(row.epoch),
      sourceEpoch,
      generation: Number(row.generation),
      stream: this.#scope.stream,
      streams: this.#scope.streams,
      tick: Number(row.tick),
      cur: row.cur as string,
      unfinished: row.finished === true ? null : tickOf(row),
      topics,
      moved,
      coordinates: true,
    }
  }

  async probe(cur: string): Promise<Probed> {
    const [result] = await this.#session.run([relay.probe(this.#scope, cur)])
    const { rows, passed } = result!.rows[0]!
    return { rows: rows === true, passed: Number(passed) }
  }

  async tick(even: boolean): Promise<{ cur: string; tick: Tick | null } | 'nothing' | 'fenced'> {
    const [, , ticked] = await this.#session.run([begin, relay.flushOnCommit, relay.tick(this.#scope, this.#epoch, even), commit])
    const row = ticked!.rows[0]
    if (row !== undefined) return { cur: row.cur as string, tick: row.finished === true ? null : tickOf(row) }
    return (await this.beat()) ? 'nothing' : 'fenced'
  }

  async page(tick: Tick, after: string, limit: number): Promise<OutboxPage> {
    const request = { ...tick, after, limit }
    const [found, holding] = await this.#session.run([relay.page(this.#scope, request), relay.holding(this.#scope, tick.tick)])
    const rows = tick.skipping ? found!.rows.filter(({ skipped }) => skipped !== true) : found!.rows
    const { sent, held } = holdingFilter(rows, holding!.rows)
    return {
      rows: sent.map(outboxRow),
      held: held.map(outboxRow),
      last: (found!.rows.at(-1)?.seq as string | undefined) ?? after,
      full: isFull(found!.rows, limit),
    }
  }

  async checkpoint(tick: Tick, page: OutboxPage): Promise<boolean> {
    const move = relay.checkpoint(this.#scope, this.#epoch, tick.tick, page.last, !page.full)
    const more = this.#besideCheckpoint(tick, page)
    if (more.length === 0) {
      const [, , moved] = await this.#session.run([begin, relay.noFlushOnCommit, move, commit])
      return moved!.count > 0
    }
    const [, moved] = await this.#session.run([begin, move])
    if (moved!.count === 0) {
      await this.#session.run([rollback])
      return false
    }
    await this.#session.run([...more, commit])
    return true
  }

  async park(tick: Tick, refused: readonly RefusedRow[]): Promise<boolean> {
    const [, owned] = await this.#session.run([begin, relay.lockOwned(this.#scope, this.#epoch, tick.tick)])
    if (owned!.count === 0) {
      await this.#session.run([rollback])
      return false
    }
    const rows = refused.map(({ row, reason }) => ({ ...row, seq: String(row.seq), reason }))
    await this.#session.run([relay.park(this.#scope, rows), commit])
    return true
  }

  async noteTopics(topics: readonly string[]): Promise<void> {
    await this.#session.run([relay.noteTopics(this.#scope, topics)])
  }

  async beat(): Promise<boolean> {
    // One statement, without a transaction of its own: it may fall between two round trips of one that is open.
    const [beaten] = await this.#session.run([relay.beat(this.#scope, this.#epoch)])
    return beaten!.count > 0
  }

  async close(outcome: 'stopped' | 'broken'): Promise<void> {
    await relinquish(this.#session, this.#owner ? relay.yieldStream(this.#scope, this.#epoch) : null, outcome)
  }

  #besideCheckpoint(tick: Tick, page: OutboxPage): Statement[] {
    const finished = !page.full
    return [
      ...(page.held.length > 0
        ? [
            relay.hold(
              this.#scope,
              page.held.map((row) => ({ ...row, seq: String(row.seq) })),
            ),
          ]
        : []),
      ...(tick.releasing ? [relay.unhold(this.#scope, tick.tick, page.last)] : []),
      ...(tick.releasing && finished ? [relay.endRelease(this.#scope, tick.tick)] : []),
      ...(tick.skipping && finished ? [relay.endSkipping(this.#scope)] : []),
    ]
  }
}

function tickOf(row: Row): Tick {
  return {
    generation: Number(row.generation),
    tick: Number(row.tick),
    prev: row.prev as string,
    cur: row.cur as string,
    floorNew: String(row.floor_new),
    doneSeq: String(row.done_seq),
    releasing: row.releasing === true,
    skipping: row.skipping === true,
  }
}
