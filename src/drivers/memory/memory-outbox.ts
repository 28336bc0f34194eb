import type { Clock } from '../../internal/clock.ts'
import type { OutboxMessage } from '../../message/outbox-message.ts'
import { murmur2 } from '../../message/partition.ts'
import type { OutboxRow, Tick } from '../../outbox/port.ts'

/** A committed message, and the number of the commit that it became visible with. */
export interface CommittedRow extends OutboxRow {
  readonly commit: number
}

/** How far one stream has come. Snapshots are numbers of commits. */
export interface StreamRow {
  readonly stream: number
  epoch: number
  tick: number
  prev: number
  cur: number
  doneSeq: number
  finished: boolean
  releasing: boolean
  owner: string | null
  seenAt: number
  readonly topics: Set<string>
}

/** A key held back from a message on that the broker refused. */
export interface ParkedRow {
  readonly aggregateType: string
  readonly aggregateId: string
  readonly fromSeq: number
  readonly reason: string
  releasing: boolean
  releaseTick: number | null
}

interface HeldMessage {
  readonly row: CommittedRow
  releaseTick: number | null
}

/** The tables of the outbox. Their changes are whole: whoever is allowed to make one makes it in one go. */
export class MemoryOutbox {
  readonly sourceEpoch: string
  readonly streams: readonly StreamRow[]
  readonly parked = new Map<string, ParkedRow>()
  readonly held = new Map<number, HeldMessage>()
  /** In the order of the commits. */
  #rows: CommittedRow[] = []
  #seq = 0
  #page: { readonly of: string; readonly rows: readonly CommittedRow[] } | null = null

  constructor(clock: Clock, streams: number) {
    const id = Array.from({ length: 16 }, () => Math.floor(clock.random() * 16).toString(16)).join('')
    this.sourceEpoch = `${id}.1`
    this.streams = Array.from({ length: streams }, (_, stream) => ({
      stream,
      epoch: 0,
      tick: 0,
      prev: 0,
      cur: 0,
      doneSeq: 0,
      finished: true,
      releasing: false,
      owner: null,
      seenAt: Number.NEGATIVE_INFINITY,
      topics: new Set<string>(),
    }))
  }

  /** Draws the next number. */
  draw(): number {
    this.#seq += 1
    return this.#seq
  }

  add(rows: readonly OutboxRow[], commit: number): void {
    for (const row of rows) this.#rows.push({ ...row, commit })
  }

  /** Which stream sends a key. */
  streamOf(message: Pick<OutboxMessage, 'aggregateType' | 'aggregateId'>): number {
    if (this.streams.length === 1) return 0
    return (murmur2(Buffer.from(keyOf(message))) & 0x7fffffff) % this.streams.length
  }

  /** What became visible after one snapshot, up to another, in one stream. */
  between({ stream }: StreamRow, prev: number, cur: number): CommittedRow[] {
    return this.#rows.filter((row) => row.commit > prev && row.commit <= cur && this.streamOf(row) === stream)
  }

  /** The rows of a tick by number, those included that it releases. */
  rowsOf(row: StreamRow, { tick, prev, cur }: Tick): readonly CommittedRow[] {
    const of = `${row.stream}/${tick}/${prev}/${cur}`
    if (this.#page?.of !== of) {
      const released = [...this.held.values()].filter((held) => held.releaseTick === tick && this.streamOf(held.row) === row.stream)
      const rows = [...this.between(row, Number(prev), Number(cur)), ...released.map((held) => held.row)]
      this.#page = { of, rows: rows.sort((a, b) => a.seq - b.seq) }
    }
    return this.#page.rows
  }

  /** Keys to be released by the stream's next tick. */
  releasing({ stream }: StreamRow): ParkedRow[] {
    return [...this.parked.values()].filter((key) => key.releasing && key.releaseTick === null && this.streamOf(key) === stream)
  }

  /** Is this row held back, unless this tick releases it? */
  isHeld(row: OutboxRow, tick: number): boolean {
    const key = this.parked.get(keyOf(row))
    return key !== undefined && key.releaseTick !== tick && row.seq >= key.fromSeq
  }

  /** Removes what every stream has published; held rows are kept beside. */
  forgetPublished(): void {
    const behind = Math.min(...this.streams.map((row) => (row.finished ? row.cur : row.prev)))
    const first = this.#rows.findIndex((row) => row.commit > behind)
    if (first !== 0) this.#rows.splice(0, first === -1 ? this.#rows.length : first)
  }
}

export function keyOf({ aggregateType, aggregateId }: Pick<OutboxMessage, 'aggregateType' | 'aggregateId'>): string {
  return JSON.stringify([aggregateType, aggregateId])
}
