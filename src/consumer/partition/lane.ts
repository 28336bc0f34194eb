import { backoffMs } from '../../internal/backoff.ts'
import type { Failure } from '../../retry/failure.ts'
import { retryDelayMs } from '../../retry/retry-policy.ts'
import type { BatchOrder, BatchResult } from '../batch/batch-order.ts'
import { type BatchLimits, BatchSize } from './batch-size.ts'
import type { Entry } from '../batch/entry.ts'
import type { Leaders } from './leaders.ts'
import type { LanePosition, PartitionRef } from '../port.ts'
import { SuspectMark } from './suspects.ts'

/** What a lane does: at most one thing at a time, so that its position has one writer. */
export type LaneActivity = 'idle' | 'batch' | 'reload' | 'advance'

/** Somewhere from `first` to `last` is a message that fails its batch. */
interface FaultyRange {
  readonly first: number
  readonly last: number
}

/** One message known to fail, in a way that takes its batch along. */
interface Failing {
  readonly offset: number
  readonly failure: Failure
}

/** Conflicts in a row that a message on its own may meet uncharged; a handler that deadlocks with itself must end somewhere. */
export const mostConflicts = 20

/** Connections in a row that may be lost while a message runs on its own; one whose statement ends its connection must end somewhere, too. */
export const mostLosses = 5

/** Batches are not made smaller than this because of failures in them. */
const smallestRedone = 16

/** Until it is looked whether there is room again. */
const fullPauseMs = 1_000

/** Parked keys that are gone are noticed one by one: when so many more are known than there were, all are read anew. */
const mostLearned = 10_000

export interface LaneSettings {
  readonly limits: BatchLimits
}

/** A lane in memory: its messages in order, its position, the keys that queue. No I/O, no clock. */
export class Lane {
  position: LanePosition
  /** Keys that must queue: all that wait, and perhaps some that wait no more. */
  #parked: Set<string>
  #mostKnown: number
  activity: LaneActivity = 'idle'
  /** No batch before this moment (of `Clock.elapsed`). */
  notBefore = 0
  #queue: Entry[] = []
  #bytes = 0
  #faulty: FaultyRange | null = null
  #failing: Failing | null = null
  #conflicts = 0
  #losses = 0
  #outages = 0
  #inFlightTo = 0
  /** So many messages may have made the former owner's process end, all of them before this offset. */
  #suspected: number
  #suspectedBefore: number | null = null
  /** What waits has reached its bounds; nothing goes on until there is room. */
  isFull = false
  readonly #size: BatchSize
  readonly #mark = new SuspectMark()

  constructor(position: LanePosition, parked: Iterable<string>, settings: LaneSettings) {
    this.position = position
    this.#parked = new Set(parked)
    this.#mostKnown = mostOf(this.#parked)
    this.#size = new BatchSize(settings.limits)
    this.#suspected = position.suspects
  }

  get parked(): ReadonlySet<string> {
    return this.#parked
  }

  /** Keys that are gone have piled up. */
  get knowsTooMany(): boolean {
    return this.#parked.size > this.#mostKnown
  }

  /** All keys that wait. */
  knowAll(keys: Iterable<string>): void {
    this.#parked = new Set(keys)
    this.#mostKnown = mostOf(this.#parked)
  }

  hold(keys: readonly string[]): void {
    for (const key of keys) this.#parked.add(key)
  }

  release(keys: readonly string[]): void {
    for (const key of keys) this.#parked.delete(key)
  }

  /** Those of a batch's keys that it has left to wait. */
  waitingOf({ entries }: BatchOrder): readonly string[] {
    if (this.#parked.size === 0) return []
    const keys = new Set(entries.flatMap(({ record }) => (record.key === null ? [] : [record.key.toString('base64')])))
    return [...keys].filter((key) => this.#parked.has(key))
  }

  get queued(): number {
    return this.#queue.length
  }

  get queuedBytes(): number {
    return this.#bytes
  }

  /** Offset of the next message, if one is here. */
  get head(): number | undefined {
    return this.#queue[0]?.record.offset
  }

  /** Everything of this lane before it is done or in flight. */
  get reach(): number {
    return this.activity === 'batch' ? Math.max(this.#inFlightTo, this.position.nextOffset) : this.position.nextOffset
  }

  /** What was not in the log when the lane was taken over has ended nobody. */
  suspectBefore(offset: number): void {
    this.#suspectedBefore ??= offset
  }

  /** Its next message may have made a process end. */
  get isSuspect(): boolean {
    return this.#suspected > 0 && this.head !== undefined && this.head < (this.#suspectedBefore ?? Number.POSITIVE_INFINITY)
  }

  /** Takes a message, unless the lane's position is past it. */
  push(entry: Entry): boolean {
    if (entry.record.offset < this.position.nextOffset) return false
    this.#queue.push(entry)
    this.#bytes += entry.bytes
    return true
  }

  /** Gives up all messages, for other lanes. */
  takeAll(): Entry[] {
    const entries = this.#queue
    this.#queue = []
    this.#bytes = 0
    return entries
  }

  /**
   * The next batch: nothing at or past `before`, and all up to `dispatched` if it takes the whole queue. The lane is busy with it until
   * `batchEnded`. `probe`: one message only. `null` if there is none.
   */
  order(partition: PartitionRef, dispatched: number, before: number, leaders: Leaders, probe = false): BatchOrder | null {
    const entries = this.#nextEntries(before, probe ? 1 : this.#most())
    if (entries.length === 0) return null
    const after = this.#queue[entries.length]
    const end = after === undefined ? Math.max(dispatched, entries.at(-1)!.record.offset + 1) : after.record.offset
    const nextOffset = Math.min(end, before)
    const failing = this.#failing?.offset === entries[0]!.record.offset ? this.#failing : null
    this.activity = 'batch'
    this.#inFlightTo = nextOffset
    return {
      lane: { ...partition, lane: this.position.lane },
      position: this.position,
      entries,
      nextOffset,
      leaders,
      parked: this.#parked,
      verdict: failing?.failure ?? null,
      suspect: this.isSuspect,
      mark: this.#mark,
      inFlight: Math.max(this.isSuspect ? this.#suspected - 1 : 0, this.#size.next),
    }
  }

  committed(order: BatchOrder, result: Extract<BatchResult, { outcome: 'committed' }>): void {
    const before = this.#queue.length
    this.moveTo(result.position)
    this.hold(result.parkedKeys)
    this.hold(result.heldKeys)
    this.#conflicts = 0
    this.#losses = 0
    this.#outages = 0
    this.isFull = false
    this.#suspected = Math.max(0, this.#suspected - (before - this.#queue.length))
    // Where failures cost the work of a batch, a smaller one loses less.
    if (result.redone && order.entries.length > 1) this.#size.shrink(Math.max(order.entries.length, 2 * smallestRedone))
    // A message on its own, or a half of a faulty batch, says nothing of the usual speed.
    else if (!order.suspect && order.verdict === null && this.#faulty === null) this.#size.took(result.handled, result.ms)
  }

  /** A message failed and took the batch along: it is dealt with alone, or looked for. */
  failed({ first, last, failure }: Extract<BatchResult, { outcome: 'failed' }>): void {
    if (first !== last) {
      this.#faulty = { first, last }
      // What was found behind them may have failed because of one of them, and must not keep them from being told apart.
      this.#failing = null
      return
    }
    this.#failing = { offset: first, failure }
  }

  /**
   * The breaker is open. None of its messages is known to be at fault: the next try has to tell. When it closes, it is one message first, so that
   * something is done before it may open again.
   */
  held(): void {
    this.#failing = null
    this.#size.shrink(1)
  }

  /** One of its keys was held while it ran. Where many are, a smaller batch meets fewer. */
  met(order: BatchOrder): void {
    if (order.entries.length > smallestRedone) this.#size.shrink(order.entries.length)
  }

  /** No room for what waits: less at once, and then, when it is one message, a pause. */
  full(order: BatchOrder, now: Moment): void {
    if (order.entries.length > 1) return this.#size.shrink(order.entries.length)
    this.isFull = true
    this.notBefore = now.elapsed + fullPauseMs
  }

  /** Nobody's fault: smaller, after a moment that parts those who met. Charged only when it never ends. */
  conflicted(order: BatchOrder, { failure }: Extract<BatchResult, { outcome: 'conflict' }>, now: Moment): void {
    this.#conflicts += 1
    this.#size.shrink(order.entries.length)
    const only = order.entries[0]!.record.offset
    if (order.entries.length === 1 && this.#conflicts > mostConflicts) {
      this.failed({ outcome: 'failed', first: only, last: only, failure })
    } else {
      this.notBefore = now.elapsed + retryDelayMs({ baseDelayMs: 5, maxDelayMs: 500 }, this.#conflicts, now.random)
    }
  }

  /** The connection broke under its handlers: smaller, so that it is found out whether one of them breaks it. Charged only when it never ends. */
  disconnected(order: BatchOrder, { failure }: Extract<BatchResult, { outcome: 'lost' }>): void {
    this.#size.shrink(order.entries.length)
    const only = order.entries[0]!.record.offset
    this.#losses = order.entries.length === 1 ? this.#losses + 1 : 0
    if (this.#losses > mostLosses) this.failed({ outcome: 'failed', first: only, last: only, failure })
  }

  /** The database is away: longer and longer pauses, nobody is charged. */
  interrupted(now: Moment): void {
    this.#outages += 1
    this.notBefore = now.elapsed + backoffMs({ firstMs: 50, maxMs: 5_000 }, this.#outages, now.random)
  }

  /** The row stands elsewhere now. What is behind it is done. */
  moveTo(position: LanePosition): void {
    this.position = position
    const next = position.nextOffset
    let done = 0
    while (done < this.#queue.length && this.#queue[done]!.record.offset < next) this.#bytes -= this.#queue[done++]!.bytes
    if (done > 0) this.#queue.splice(0, done)
    if (this.#failing !== null && this.#failing.offset < next) this.#failing = null
    if (this.#faulty !== null && this.#faulty.last < next) this.#faulty = null
  }

  #nextEntries(before: number, most: number): Entry[] {
    const entries: Entry[] = []
    let bytes = 0
    for (const entry of this.#queue) {
      if (entries.length === most || entry.record.offset >= before) break
      bytes += entry.bytes
      if (entries.length > 0 && bytes > this.#size.bytes) break
      entries.push(entry)
    }
    return entries
  }

  /** A failing message is dealt with alone, suspects of a crash one by one, what stands before it without it; of a faulty range, the first half. */
  #most(): number {
    const size = this.#size.messages
    if (this.isSuspect) return 1
    if (this.#failing !== null) return this.head === this.#failing.offset ? 1 : Math.min(size, this.#countBefore(this.#failing.offset))
    if (this.#faulty === null) return size
    const { first, last } = this.#faulty
    if (this.head! < first) return Math.min(size, this.#countBefore(first))
    return Math.max(1, Math.min(size, Math.floor(this.#countBefore(last + 1) / 2)))
  }

  #countBefore(offset: number): number {
    const found = this.#queue.findIndex((entry) => entry.record.offset >= offset)
    return found === -1 ? this.#queue.length : found
  }
}

/** The time and the chance of a decision, passed in. */
export interface Moment {
  /** Milliseconds since 1970. */
  readonly wall: number
  /** `Clock.elapsed`. */
  readonly elapsed: number
  /** From 0 to below 1. */
  readonly random: number
}

function mostOf(known: ReadonlySet<string>): number {
  return 2 * known.size + mostLearned
}
