import type { HeldRow, OutboxPage, OwnerClaim, Probed, RefusedRow, RelayState, RelayStream, Tick } from '../../outbox/port.ts'
import type { MemoryDatabase } from './memory-database.ts'
import { type CommittedRow, type MemoryOutbox, type StreamRow, keyOf } from './memory-outbox.ts'

/** The relay's side of a stream in memory. Every method is one step, so none sees another's half. */
export class MemoryRelayStream implements RelayStream {
  readonly #database: MemoryDatabase
  readonly #outbox: MemoryOutbox
  readonly #row: StreamRow
  readonly #coordinates: boolean
  #epoch = 0

  constructor(database: MemoryDatabase, outbox: MemoryOutbox, row: StreamRow, coordinates: boolean) {
    this.#database = database
    this.#outbox = outbox
    this.#row = row
    this.#coordinates = coordinates
  }

  async takeOver({ owner, leaseMs }: OwnerClaim): Promise<RelayState | null> {
    const row = this.#row
    const now = this.#database.clock.now()
    if (row.owner !== null && row.owner !== owner && row.seenAt >= now - leaseMs) return null
    row.epoch += 1
    row.owner = owner
    row.seenAt = now
    this.#epoch = row.epoch
    return {
      epoch: row.epoch,
      sourceEpoch: this.#outbox.sourceEpoch,
      generation: 1,
      stream: row.stream,
      streams: this.#outbox.streams.length,
      tick: row.tick,
      cur: String(row.cur),
      unfinished: row.finished ? null : this.#tickOf(row),
      topics: [...row.topics],
      moved: null,
      coordinates: this.#coordinates,
    }
  }

  async probe(cur: string): Promise<Probed> {
    const { commits } = this.#database
    const rows = this.#outbox.between(this.#row, Number(cur), commits).length > 0 || this.#outbox.releasing(this.#row).length > 0
    return { rows, passed: commits - Number(cur) }
  }

  async tick(even: boolean): Promise<{ cur: string; tick: Tick | null } | 'nothing' | 'fenced'> {
    const row = this.#row
    if (!this.#isOwner()) return 'fenced'
    if (!row.finished) return 'nothing'
    const { commits } = this.#database
    const releasing = this.#outbox.releasing(row)
    const found = this.#outbox.between(row, row.cur, commits)
    if (found.length === 0 && releasing.length === 0 && !even) return 'nothing'
    row.tick += 1
    row.prev = row.cur
    row.cur = commits
    row.seenAt = this.#database.clock.now()
    row.releasing = releasing.length > 0
    row.finished = found.length === 0 && releasing.length === 0
    this.#markReleased(releasing.map(keyOf), row.tick)
    if (!row.finished) row.doneSeq = (this.#outbox.rowsOf(row, this.#tickOf(row))[0]?.seq ?? row.doneSeq + 1) - 1
    return { cur: String(row.cur), tick: row.finished ? null : this.#tickOf(row) }
  }

  async page(tick: Tick, after: string, limit: number): Promise<OutboxPage> {
    const rows = this.#outbox
      .rowsOf(this.#row, tick)
      .filter(({ seq }) => seq > Number(after))
      .slice(0, limit)
    const isHeld = (row: CommittedRow): boolean => this.#outbox.isHeld(row, tick.tick)
    return {
      rows: rows.filter((row) => !isHeld(row)),
      held: rows.filter(isHeld),
      last: String(rows.at(-1)?.seq ?? after),
      full: rows.length === limit,
    }
  }

  async checkpoint(tick: Tick, { held, last, full }: OutboxPage): Promise<boolean> {
    const row = this.#row
    if (!this.#isOwner() || row.tick !== tick.tick || row.finished) return false
    this.#hold(tick, held)
    row.doneSeq = Number(last)
    row.finished = !full
    row.seenAt = this.#database.clock.now()
    if (tick.releasing) this.#endRelease(tick.tick, Number(last), !full)
    if (row.finished) this.#outbox.forgetPublished()
    return true
  }

  async park(tick: Tick, refused: readonly RefusedRow[]): Promise<boolean> {
    if (!this.#isOwner() || this.#row.tick !== tick.tick) return false
    const first = new Map<string, RefusedRow>()
    for (const one of refused) {
      const known = first.get(keyOf(one.row))
      if (known === undefined || one.row.seq < known.row.seq) first.set(keyOf(one.row), one)
    }
    for (const [key, { row, reason }] of first) {
      const { aggregateType, aggregateId, seq } = row
      this.#outbox.parked.set(key, { aggregateType, aggregateId, fromSeq: seq, reason, releasing: false, releaseTick: null })
    }
    return true
  }

  async noteTopics(topics: readonly string[]): Promise<void> {
    for (const topic of topics) this.#row.topics.add(topic)
  }

  async beat(): Promise<boolean> {
    if (!this.#isOwner()) return false
    this.#row.seenAt = this.#database.clock.now()
    return true
  }

  async close(outcome: 'stopped' | 'broken'): Promise<void> {
    if (outcome === 'stopped' && this.#isOwner()) this.#row.owner = null
  }

  #isOwner(): boolean {
    return this.#epoch > 0 && this.#row.epoch === this.#epoch
  }

  #tickOf({ tick, prev, cur, doneSeq, releasing }: StreamRow): Tick {
    return {
      generation: 1,
      tick,
      prev: String(prev),
      cur: String(cur),
      // Everything a tick has is found by its commits; no number bounds the search.
      floorNew: '0',
      doneSeq: String(doneSeq),
      releasing,
      skipping: false,
    }
  }

  #markReleased(keys: readonly string[], tick: number): void {
    for (const key of keys) this.#outbox.parked.get(key)!.releaseTick = tick
    for (const held of this.#outbox.held.values()) if (keys.includes(keyOf(held.row))) held.releaseTick = tick
  }

  /** One that this tick had wanted to release is held again. */
  #hold(tick: Tick, rows: readonly HeldRow[]): void {
    if (rows.length === 0) return
    const ofTick = new Map(this.#outbox.rowsOf(this.#row, tick).map((row) => [row.seq, row]))
    for (const { seq } of rows) this.#outbox.held.set(seq, { row: ofTick.get(seq)!, releaseTick: null })
  }

  #endRelease(tick: number, doneSeq: number, finished: boolean): void {
    const { held, parked } = this.#outbox
    const mine = (row: { aggregateType: string; aggregateId: string }): boolean => this.#outbox.streamOf(row) === this.#row.stream
    for (const [seq, one] of held) if (one.releaseTick === tick && seq <= doneSeq && mine(one.row)) held.delete(seq)
    if (!finished) return
    for (const [key, one] of parked) if (one.releaseTick === tick && mine(one)) parked.delete(key)
    this.#row.releasing = false
  }
}
