import { backoffMs } from '../internal/backoff.ts'
import type { BatchOrder, BatchResult, Failure } from './batch-order.ts'
import { type BatchLimits, BatchSize } from './batch-size.ts'
import type { Entry } from './entry.ts'
import { type RetryPolicy, retryDelayMs } from './failure-policy.ts'
import type { Leaders } from './leaders.ts'
import type { FailedAttempt, LanePosition, PartitionRef } from './port.ts'

/** What a lane does: at most one thing at a time, so that its position has one writer. */
export type LaneActivity = 'idle' | 'batch' | 'reload' | 'advance'

/** Somewhere from `first` to `last` is a message that fails its batch. */
interface Suspects {
  readonly first: number
  readonly last: number
}

/** One message known to fail, and what it has cost so far. */
interface Failing {
  readonly offset: number
  readonly attempts: readonly FailedAttempt[]
  readonly failure: Failure
}

/** Conflicts in a row that a message on its own may meet uncharged; a handler that deadlocks with itself must end somewhere. */
const mostConflicts = 20

export interface LaneSettings {
  readonly limits: BatchLimits
  readonly retry: RetryPolicy
}

/** A lane in memory: its messages in order, its position, the keys that queue. No I/O, no clock. */
export class Lane {
  position: LanePosition
  parked: Set<string>
  activity: LaneActivity = 'idle'
  /** No batch before this moment (of `Clock.elapsed`). */
  notBefore = 0
  #queue: Entry[] = []
  #bytes = 0
  #suspects: Suspects | null = null
  #failing: Failing | null = null
  #conflicts = 0
  #outages = 0
  #inFlightTo = 0
  readonly #size: BatchSize
  readonly #settings: LaneSettings

  constructor(position: LanePosition, parked: Iterable<string>, settings: LaneSettings) {
    this.position = position
    this.parked = new Set(parked)
    this.#settings = settings
    this.#size = new BatchSize(settings.limits)
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
   * `batchEnded`. `null` if there is none.
   */
  order(partition: PartitionRef, dispatched: number, before: number, leaders: Leaders): BatchOrder | null {
    const entries = this.#nextEntries(before)
    if (entries.length === 0) return null
    const after = this.#queue[entries.length]
    const end = after === undefined ? Math.max(dispatched, entries.at(-1)!.record.offset + 1) : after.record.offset
    const nextOffset = Math.min(end, before)
    const failing = this.#failing?.offset === entries[0]!.record.offset ? this.#failing : null
    const exhausted = failing !== null && failing.attempts.length >= this.#settings.retry.maxAttempts
    this.activity = 'batch'
    this.#inFlightTo = nextOffset
    return {
      lane: { ...partition, lane: this.position.lane },
      position: this.position,
      entries,
      nextOffset,
      leaders,
      parked: this.parked,
      attempt: 1 + (failing?.attempts.length ?? 0),
      verdict: exhausted ? { failure: failing.failure, attempts: failing.attempts } : null,
    }
  }

  committed(order: BatchOrder, result: Extract<BatchResult, { outcome: 'committed' }>): void {
    this.moveTo(result.position)
    if (result.parkedKey !== null) this.parked.add(result.parkedKey)
    this.#conflicts = 0
    this.#outages = 0
    // A message on its own, or a half of a suspected batch, says nothing of the usual speed.
    if (order.attempt === 1 && this.#suspects === null) this.#size.took(result.handled, result.ms)
  }

  /** A message failed: charge it if it is alone, else find it. */
  failed(order: BatchOrder, { first, last, failure }: Extract<BatchResult, { outcome: 'failed' }>, now: Moment): void {
    if (first !== last) {
      this.#suspects = { first, last }
      // What was found behind them may have failed because of one of them, and must not keep them from being told apart.
      this.#failing = null
      return
    }
    const former = this.#failing?.offset === first ? this.#failing.attempts : []
    const attempts = [...former, { at: now.wall, error: failure.reason }]
    this.#failing = { offset: first, attempts, failure }
    const again = attempts.length < this.#settings.retry.maxAttempts
    // What stands before it runs at once.
    const alone = order.entries[0]!.record.offset === first
    if (again && alone) this.notBefore = now.elapsed + retryDelayMs(this.#settings.retry, attempts.length, now.random)
  }

  /** Nobody's fault: smaller, after a moment that parts those who met. Charged only when it never ends. */
  conflicted(order: BatchOrder, { failure }: Extract<BatchResult, { outcome: 'conflict' }>, now: Moment): void {
    this.#conflicts += 1
    this.#size.shrink(order.entries.length)
    const only = order.entries[0]!.record.offset
    if (order.entries.length === 1 && this.#conflicts > mostConflicts) {
      this.failed(order, { outcome: 'failed', first: only, last: only, failure }, now)
    } else {
      this.notBefore = now.elapsed + retryDelayMs({ baseDelayMs: 5, maxDelayMs: 500 }, this.#conflicts, now.random)
    }
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
    if (this.#suspects !== null && this.#suspects.last < next) this.#suspects = null
  }

  #nextEntries(before: number): Entry[] {
    const most = this.#most()
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

  /** A failing message runs alone, what stands before it without it; among suspects, the first half. */
  #most(): number {
    const size = this.#size.messages
    if (this.#failing !== null) return this.head === this.#failing.offset ? 1 : Math.min(size, this.#countBefore(this.#failing.offset))
    if (this.#suspects === null) return size
    const { first, last } = this.#suspects
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
