import { TidemarkError } from '../../errors.ts'
import type { OutboxPage, OwnerClaim, Probed, RefusedRow, RelayState, RelayStream, Tick } from '../../outbox/port.ts'
import * as relay from './queries/relay.ts'
import type { StreamScope } from './queries/relay.ts'
import * as simple from './queries/simple-relay.ts'
import type { Session } from './session.ts'
import { StreamOwner } from './stream-owner.ts'

/** A pass over the table: in simple mode there are no snapshots to keep. */
const pass: Omit<Tick, 'generation' | 'tick'> = { prev: '', cur: '', floorNew: '0', doneSeq: '0', releasing: false, skipping: false }

/** The relay's side of a stream in simple mode: what is published is deleted. Statements: `queries/simple-relay.ts`. */
export class PostgresSimpleStream implements RelayStream {
  readonly #owner: StreamOwner
  #generation = 0
  #tick = 0

  constructor(session: Session, scope: StreamScope) {
    this.#owner = new StreamOwner(session, scope)
  }

  async takeOver(claim: OwnerClaim): Promise<RelayState | null> {
    const owned = await this.#owner.takeOver(claim)
    if (owned === null) return null
    const { row, sourceEpoch, topics, moved } = owned
    if (Number(row.tick) > 0) throw hasArchive()
    this.#generation = Number(row.generation)
    this.#tick = Number(row.tick)
    const { stream, streams } = this.#owner.scope
    const place = { epoch: Number(row.epoch), sourceEpoch, generation: this.#generation, stream, streams, tick: this.#tick }
    return { ...place, cur: '', unfinished: null, topics, moved, coordinates: false }
  }

  async probe(): Promise<Probed> {
    const [result] = await this.#owner.session.run([simple.probeSimple(this.#owner.scope)])
    return { rows: result!.rows[0]!.rows === true, passed: 0 }
  }

  async tick(): Promise<{ cur: string; tick: Tick } | 'fenced'> {
    if (!(await this.#owner.run(this.#tick, [simple.releaseSimple(this.#owner.scope)], 'relay:mid-tick'))) return 'fenced'
    return { cur: '', tick: { ...pass, generation: this.#generation, tick: this.#tick } }
  }

  async page(_tick: Tick, after: string, limit: number): Promise<OutboxPage> {
    const { session, scope } = this.#owner
    const [found, holding] = await session.run([
      relay.copied(simple.pageSimple(scope, after, limit), this.#owner.expectedPage),
      relay.holding(scope, 0),
    ])
    return this.#owner.page(found!.copied!, holding!.rows, after, limit)
  }

  checkpoint(_tick: Tick, { rows, held }: OutboxPage): Promise<boolean> {
    const sent = rows.map(({ seq }) => seq)
    const remove = sent.length > 0 ? [simple.removeSent(this.#owner.scope, sent)] : []
    return this.#owner.run(this.#tick, [...remove, ...this.#owner.hold(held)], 'relay:mid-checkpoint')
  }

  park(_tick: Tick, refused: readonly RefusedRow[]): Promise<boolean> {
    return this.#owner.park(this.#tick, refused)
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
}

/** Nothing here tells published rows from others: all would be sent again, and without the coordinate by which readers knew them. */
function hasArchive(): TidemarkError {
  const message = `published: expected 'keep', since this outbox holds rows that were published and kept; got 'delete'.`
  return new TidemarkError('CONFIG_INVALID', message, { remedy: "Set published: 'keep', or begin with a new schema." })
}
