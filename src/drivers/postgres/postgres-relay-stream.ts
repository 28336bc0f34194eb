import type { Row } from '../../message/transaction.ts'
import type { OutboxPage, OwnerClaim, Probed, RefusedRow, RelayState, RelayStream, Tick } from '../../outbox/port.ts'
import * as relay from './queries/relay.ts'
import type { StreamScope } from './queries/relay.ts'
import { begin, commit } from './relay-transaction.ts'
import type { Session } from './session.ts'
import type { Statement } from './statement-run.ts'
import { StreamOwner } from './stream-owner.ts'

/** The relay's side of a stream by snapshot difference. Statements: `queries/relay.ts`. */
export class PostgresRelayStream implements RelayStream {
  readonly #owner: StreamOwner

  constructor(session: Session, scope: StreamScope) {
    this.#owner = new StreamOwner(session, scope)
  }

  async takeOver(claim: OwnerClaim): Promise<RelayState | null> {
    const owned = await this.#owner.takeOver(claim)
    if (owned === null) return null
    const { row, sourceEpoch, topics, moved } = owned
    const { stream, streams } = this.#owner.scope
    return {
      epoch: Number(row.epoch),
      sourceEpoch,
      generation: Number(row.generation),
      stream,
      streams,
      tick: Number(row.tick),
      cur: row.cur as string,
      unfinished: row.finished === true ? null : tickOf(row),
      topics,
      moved,
      coordinates: true,
    }
  }

  async probe(cur: string): Promise<Probed> {
    const { session, scope } = this.#owner
    const [result] = await session.run([relay.probe(scope, cur)])
    const { rows, passed } = result!.rows[0]!
    return { rows: rows === true, passed: Number(passed) }
  }

  async tick(even: boolean): Promise<{ cur: string; tick: Tick | null } | 'nothing' | 'fenced'> {
    const { session, scope, epoch } = this.#owner
    const [, , ticked] = await session.run([begin, relay.flushOnCommit, relay.tick(scope, epoch, even), commit])
    const row = ticked!.rows[0]
    if (row !== undefined) return { cur: row.cur as string, tick: row.finished === true ? null : tickOf(row) }
    return (await this.beat()) ? 'nothing' : 'fenced'
  }

  async page(tick: Tick, after: string, limit: number): Promise<OutboxPage> {
    const { session, scope } = this.#owner
    const [found, holding] = await session.run([
      relay.copied(relay.page(scope, { ...tick, after, limit }), this.#owner.expectedPage),
      relay.holding(scope, tick.tick),
    ])
    return this.#owner.page(found!.copied!, holding!.rows, after, limit)
  }

  async checkpoint(tick: Tick, page: OutboxPage): Promise<boolean> {
    const { session, scope, epoch } = this.#owner
    const move = relay.checkpoint(scope, epoch, tick.tick, page.last, !page.full)
    const more = this.#besideCheckpoint(tick, page)
    if (more.length === 0) {
      const [, , moved] = await session.run([begin, relay.noFlushOnCommit, move, commit])
      return moved!.count > 0
    }
    return this.#owner.runAfter(move, more, 'relay:mid-checkpoint')
  }

  park(tick: Tick, refused: readonly RefusedRow[]): Promise<boolean> {
    return this.#owner.park(tick.tick, refused)
  }

  noteTopics(topics: readonly string[]): Promise<void> {
    return this.#owner.noteTopics(topics)
  }

  beat(): Promise<boolean> {
    return this.#owner.beat()
  }

  close(outcome: 'stopped' | 'broken'): Promise<void> {
    return this.#owner.close(outcome)
  }

  #besideCheckpoint(tick: Tick, page: OutboxPage): Statement[] {
    const { scope } = this.#owner
    const finished = !page.full
    return [
      ...this.#owner.hold(page.held),
      ...(tick.releasing ? [relay.unhold(scope, tick.tick, page.last)] : []),
      ...(tick.releasing && finished ? [relay.endRelease(scope, tick.tick)] : []),
      ...(tick.skipping && finished ? [relay.endSkipping(scope)] : []),
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
