import type { OutboxPage, OwnerClaim, Probed, RefusedRow, RelayState, RelayStream, Tick } from '../../outbox/port.ts'
import { isFull, outboxRow } from './outbox-row.ts'
import { holdingFilter } from './parked-keys.ts'
import * as relay from './queries/relay.ts'
import type { StreamScope } from './queries/relay.ts'
import * as simple from './queries/simple-relay.ts'
import { own, relinquish } from './relay-ownership.ts'
import { begin, commit, rollback } from './relay-transaction.ts'
import type { Session } from './session.ts'
import type { Statement } from './statement-run.ts'

/** A pass over the table: in simple mode there are no snapshots to keep. */
const pass: Omit<Tick, 'generation' | 'tick'> = { prev: '', cur: '', floorNew: '0', doneSeq: '0', releasing: false, skipping: false }

/** The relay's side of a stream in simple mode: what is published is deleted. Statements: `queries/simple-relay.ts`. */
export class PostgresSimpleStream implements RelayStream {
  readonly #session: Session
  readonly #scope: StreamScope
  #epoch = '0'
  #generation = 0
  #tick = 0
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
    this.#generation = Number(row.generation)
    this.#tick = Number(row.tick)
    this.#owner = true
    const { stream, streams } = this.#scope
    const place = { epoch: Number(row.epoch), sourceEpoch, generation: this.#generation, stream, streams, tick: this.#tick }
    return { ...place, cur: '', unfinished: null, topics, moved, coordinates: false }
  }

  async probe(): Promise<Probed> {
    const [result] = await this.#session.run([simple.probeSimple(this.#scope)])
    return { rows: result!.rows[0]!.rows === true, passed: 0 }
  }

  async tick(): Promise<{ cur: string; tick: Tick } | 'fenced'> {
    if (!(await this.#asOwner([simple.releaseSimple(this.#scope)]))) return 'fenced'
    return { cur: '', tick: { ...pass, generation: this.#generation, tick: this.#tick } }
  }

  async page(_tick: Tick, after: string, limit: number): Promise<OutboxPage> {
    const [found, holding] = await this.#session.run([simple.pageSimple(this.#scope, after, limit), relay.holding(this.#scope, 0)])
    const { sent, held } = holdingFilter(found!.rows, holding!.rows)
    const last = (found!.rows.at(-1)?.seq as string | undefined) ?? after
    return { rows: sent.map(outboxRow), held: held.map(outboxRow), last, full: isFull(found!.rows, limit) }
  }

  checkpoint(_tick: Tick, page: OutboxPage): Promise<boolean> {
    const held = page.held.map((row) => ({ ...row, seq: String(row.seq) }))
    return this.#asOwner([
      ...(page.rows.length > 0
        ? [
            simple.removeSent(
              this.#scope,
              page.rows.map(({ seq }) => seq),
            ),
          ]
        : []),
      ...(held.length > 0 ? [relay.hold(this.#scope, held)] : []),
    ])
  }

  park(_tick: Tick, refused: readonly RefusedRow[]): Promise<boolean> {
    return this.#asOwner([
      relay.park(
        this.#scope,
        refused.map(({ row, reason }) => ({ ...row, seq: String(row.seq), reason })),
      ),
    ])
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

  async #asOwner(statements: readonly Statement[]): Promise<boolean> {
    const [, owned] = await this.#session.run([begin, relay.lockOwned(this.#scope, this.#epoch, this.#tick)])
    await this.#session.run(owned!.count === 0 ? [rollback] : [...statements, commit])
    return owned!.count > 0
  }
}
