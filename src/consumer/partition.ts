import { TidemarkError } from '../errors.ts'
import { backoffMs } from '../internal/backoff.ts'
import type { LogRecord } from '../message/port.ts'
import type { BatchOrder, BatchResult } from './batch-order.ts'
import { Entry } from './entry.ts'
import { Lane, type LaneSettings, type Moment } from './lane.ts'
import { laneOf } from './lane-of.ts'
import type { PartitionCommand } from './partition-command.ts'
import type { LanePosition, PartitionRef, PartitionState } from './port.ts'

/**
 * `taking` → `owned` → `draining` → `released`; from `owned` back to `taking` when another owner got between although the membership stands.
 */
export type PartitionPhase = 'taking' | 'owned' | 'draining' | 'released'

export interface PartitionSettings extends LaneSettings {
  /** Stop reading when so much waits in memory; go on at half of it. */
  readonly buffer: () => { readonly messages: number; readonly bytes: number }
}

type Commands = PartitionCommand[]

/**
 * One partition from its assignment to its release: which messages are in which lane, what each lane does, what must be asked of the store.
 * No I/O, no clock: events come in by its methods, and what is to be done comes back. The protocol is that of `docs/design/consumer.md`.
 */
export class Partition {
  readonly ref: PartitionRef
  readonly #settings: PartitionSettings
  #phase: PartitionPhase = 'taking'
  #ownership = 0
  #lanes: Lane[] = []
  /** Everything before it was given to the lanes. */
  #dispatched = 0
  #paused = false
  /** Fences and failures in a row, without a batch in between. */
  #setbacks = 0
  /** A change of the lane count under way: lanes stop at `at`. */
  #barrier: { readonly count: number; readonly at: number; replacing: boolean } | null = null
  /** The number of lanes asked for, if any was. */
  #wantedLanes: number | null = null
  #finalAdvance = false
  /** A take-over is to be asked for again, when `wake` comes. */
  #retake = false
  /** Messages that came again below a lane's position. */
  repeatsBelowPosition = 0

  constructor(ref: PartitionRef, settings: PartitionSettings) {
    this.ref = ref
    this.#settings = settings
  }

  get phase(): PartitionPhase {
    return this.#phase
  }

  get ownership(): number {
    return this.#ownership
  }

  get lanes(): readonly Lane[] {
    return this.#lanes
  }

  /** Where to read on; `null` when nothing is to be read now. */
  get fetchFrom(): number | null {
    if (this.#phase !== 'owned' || this.#paused) return null
    return this.#barrier !== null && this.#dispatched >= this.#barrier.at ? null : this.#dispatched
  }

  /** Every message before it is done, as far as this owner knows; idle lanes count although their row may stand further back. */
  get settledUpTo(): number | null {
    if (this.#lanes.length === 0) return null
    return Math.min(
      ...this.#lanes.map((lane) => (lane.queued === 0 ? Math.max(this.#dispatched, lane.position.nextOffset) : lane.position.nextOffset)),
    )
  }

  // ---- ownership

  assigned(): Commands {
    return [{ do: 'takeOver', ownership: this.#ownership }]
  }

  tookOver(ownership: number, state: PartitionState): Commands {
    if (this.#isStale(ownership) || this.#phase !== 'taking') return []
    this.#install(state)
    this.#dispatched = Math.min(...this.#lanes.map((lane) => lane.position.nextOffset))
    this.#phase = 'owned'
    return [{ do: 'tell', what: 'taken' }, { do: 'fetch' }, ...this.#beginChange()]
  }

  takeOverFailed(ownership: number, now: Moment): Commands {
    if (this.#isStale(ownership)) return []
    return this.#takeOverLater(now)
  }

  /** The assignment ends: no new batches; what is in flight may end. `tell: released` follows. */
  drain(): Commands {
    if (this.#phase === 'draining' || this.#phase === 'released') return []
    const wasTaking = this.#phase === 'taking'
    this.#phase = 'draining'
    this.#barrier = this.#barrier?.replacing === true ? this.#barrier : null
    // These wait for the database to come back. Their messages are still queued, so nothing is taken for done.
    for (const lane of this.#lanes) if (lane.activity === 'reload' && lane.notBefore > 0) lane.activity = 'idle'
    return wasTaking ? this.#release() : this.#drained()
  }

  /** The assignment is over: nothing in flight counts any more. */
  abandon(): Commands {
    if (this.#phase === 'released') return []
    this.#forget()
    this.#phase = 'released'
    return [{ do: 'tell', what: 'abandoned' }]
  }

  // ---- messages

  /** What was read from `from` on. Answers to an outdated question are ignored. */
  fetched(from: number, records: readonly LogRecord[], nextOffset: number): Commands {
    if (this.#phase !== 'owned' || from !== this.#dispatched) return []
    for (const record of records) {
      const lane = this.#lanes[laneOf(record.key, record.offset, this.#lanes.length)]!
      if (!lane.push(new Entry(record))) this.repeatsBelowPosition += 1
    }
    this.#dispatched = Math.max(this.#dispatched, nextOffset)
    this.#pauseOrResume()
    return [...this.#readyLanes(), ...this.#replaceIfReady()]
  }

  outOfRange(from: number, startOffset: number, endOffset: number): Commands {
    if (this.#phase !== 'owned' || from !== this.#dispatched) return []
    const { group, topic, partition } = this.ref
    const text = `Group "${group}" stands at offset ${from} of ${topic}-${partition}, but the log holds only ${startOffset} to ${endOffset}.`
    const error = new TidemarkError('OFFSET_OUT_OF_RANGE', text, {
      details: { group, topic, partition, offset: from, startOffset, endOffset },
      remedy:
        'Its messages are gone, or the topic was changed. Decide what they mean to this group, then set its rows in consumer_position.',
    })
    return [{ do: 'fail', error }]
  }

  /** The next batch of a lane that was `ready`, now that a transaction is free. */
  order(lane: number): BatchOrder | null {
    const found = this.#lanes[lane]
    if (this.#phase !== 'owned' || found === undefined || found.activity !== 'idle' || found.notBefore > 0) return null
    return found.order(this.ref, this.#dispatched, this.#barrier?.at ?? Number.POSITIVE_INFINITY)
  }

  batchEnded(ownership: number, order: BatchOrder, result: BatchResult, now: Moment): Commands {
    if (this.#isStale(ownership)) return []
    const lane = this.#lanes[order.lane.lane]!
    lane.activity = 'idle'
    switch (result.outcome) {
      case 'committed':
        this.#setbacks = 0
        lane.committed(order, result)
        break
      case 'failed':
        lane.failed(order, result, now)
        break
      case 'conflict':
        lane.conflicted(order, result, now)
        break
      case 'reload':
        return this.#reload(lane)
      case 'unavailable':
        lane.interrupted(now)
        lane.activity = 'reload'
        if (this.#phase === 'draining') return this.#reload(lane)
        return [{ do: 'wake', afterMs: lane.notBefore - now.elapsed }]
      case 'dropped':
        break
    }
    return this.#laneIsIdle(lane, now)
  }

  reloaded(
    ownership: number,
    lane: number,
    row: { readonly position: LanePosition; readonly parkedKeys: readonly string[] } | null,
    now: Moment,
  ): Commands {
    if (this.#isStale(ownership)) return []
    const mine = this.#lanes[lane]!
    if (row === null || row.position.epoch !== mine.position.epoch || row.position.nextOffset < mine.position.nextOffset)
      return this.#fenced(now)
    mine.parked = new Set(ofLane(row.parkedKeys, row.position))
    mine.moveTo(row.position)
    mine.activity = 'idle'
    return this.#laneIsIdle(mine, now)
  }

  reloadFailed(ownership: number, lane: number, now: Moment): Commands {
    if (this.#isStale(ownership)) return []
    if (this.#phase === 'draining') return this.#release()
    const mine = this.#lanes[lane]!
    mine.interrupted(now)
    return [{ do: 'wake', afterMs: mine.notBefore - now.elapsed }]
  }

  /** Time passed: whatever waited for it goes on. */
  wake(now: Moment): Commands {
    if (this.#phase === 'taking' && this.#retake) {
      this.#retake = false
      return [{ do: 'takeOver', ownership: this.#ownership }]
    }
    if (this.#phase !== 'owned') return []
    const waiting = this.#lanes.filter((lane) => lane.notBefore > 0)
    return waiting.flatMap((lane) => this.#wakeLane(lane, now))
  }

  #wakeLane(lane: Lane, now: Moment): Commands {
    // Timers may fire early, and one may be meant for another lane.
    if (lane.notBefore > now.elapsed) return [{ do: 'wake', afterMs: lane.notBefore - now.elapsed }]
    lane.notBefore = 0
    return lane.activity === 'reload' ? this.#reload(lane) : this.#laneIsIdle(lane, now)
  }

  // ---- idle lanes

  /** About once a second: idle lanes follow what was dispatched, so that a restart does not read it all again. */
  advance(): Commands {
    if (this.#phase !== 'owned' || this.#barrier !== null) return []
    return this.#advanceIdle()
  }

  advanced(ownership: number, targets: readonly { readonly lane: number }[], moved: readonly LanePosition[], now: Moment): Commands {
    if (this.#isStale(ownership)) return []
    return targets.flatMap((target) => {
      const lane = this.#lanes[target.lane]!
      const position = moved.find((one) => one.lane === target.lane)
      // It did not move: somebody else did something to the row.
      if (position === undefined) return this.#reload(lane)
      lane.activity = 'idle'
      // `holds` may have risen meanwhile: taking the new count without its keys would let a held key run. The next batch finds out.
      lane.moveTo({ ...position, holds: lane.position.holds })
      return this.#laneIsIdle(lane, now)
    })
  }

  advanceFailed(ownership: number, targets: readonly { readonly lane: number }[], now: Moment): Commands {
    if (this.#isStale(ownership)) return []
    if (this.#phase === 'draining') return this.#release()
    return targets.flatMap((target) => {
      const lane = this.#lanes[target.lane]!
      lane.activity = 'reload'
      lane.interrupted(now)
      return [{ do: 'wake' as const, afterMs: lane.notBefore - now.elapsed }]
    })
  }

  // ---- number of lanes

  /**
   * Changes the lane count, now or as soon as the partition is owned: lanes run up to a barrier past everything in flight, then their rows are
   * replaced.
   */
  changeLanes(count: number): Commands {
    this.#wantedLanes = count
    return this.#beginChange()
  }

  #beginChange(): Commands {
    const count = this.#wantedLanes
    if (count === null || this.#phase !== 'owned' || this.#barrier !== null || count === this.#lanes.length) return []
    this.#barrier = { count, at: Math.max(...this.#lanes.map((lane) => lane.reach)), replacing: false }
    return [{ do: 'fetch' }, ...this.#replaceIfReady()]
  }

  replaced(ownership: number, state: PartitionState | 'fenced', now: Moment): Commands {
    if (this.#isStale(ownership)) return []
    if (state === 'fenced') return this.#fenced(now)
    const waiting = this.#lanes.flatMap((lane) => lane.takeAll()).sort((a, b) => a.record.offset - b.record.offset)
    const dispatched = Math.max(this.#dispatched, this.#barrier!.at)
    this.#barrier = null
    this.#install(state)
    this.#dispatched = dispatched
    for (const entry of waiting) this.#lanes[laneOf(entry.record.key, entry.record.offset, this.#lanes.length)]!.push(entry)
    if (this.#phase === 'draining') return this.#drained()
    return [{ do: 'fetch' }, ...this.#readyLanes(), ...this.#beginChange()]
  }

  /** Whether the rows were replaced is not known: taking over again tells. */
  replaceFailed(ownership: number, now: Moment): Commands {
    if (this.#isStale(ownership)) return []
    return this.#fenced(now)
  }

  // ---- inside

  #isStale(ownership: number): boolean {
    return ownership !== this.#ownership || this.#phase === 'released'
  }

  #install(state: PartitionState): void {
    this.#lanes = state.lanes.map((position) => new Lane(position, ofLane(state.parkedKeys, position), this.#settings))
  }

  #fenced(now: Moment): Commands {
    const draining = this.#phase === 'draining'
    this.#forget()
    if (draining) return [{ do: 'tell', what: 'fenced' }, ...this.#release()]
    // The membership still stands as far as we know. If it does not, we shall hear of it.
    this.#phase = 'taking'
    return [{ do: 'tell', what: 'fenced' }, ...this.#takeOverLater(now)]
  }

  /** Two that both believe to own it must not fence each other for ever. */
  #takeOverLater(now: Moment): Commands {
    this.#retake = true
    this.#setbacks += 1
    return [{ do: 'wake', afterMs: backoffMs({ firstMs: 20, maxMs: 5_000 }, this.#setbacks, now.random) }]
  }

  #forget(): void {
    this.#ownership += 1
    this.#lanes = []
    this.#barrier = null
    this.#paused = false
    this.#finalAdvance = false
  }

  #release(): Commands {
    this.#phase = 'released'
    this.#ownership += 1
    return [{ do: 'tell', what: 'released' }]
  }

  #reload(lane: Lane): Commands {
    lane.activity = 'reload'
    return [{ do: 'reload', ownership: this.#ownership, lane: lane.position.lane }]
  }

  #laneIsIdle(lane: Lane, now: Moment): Commands {
    if (this.#phase === 'draining') return this.#drained()
    const wasPaused = this.#paused
    this.#pauseOrResume()
    const resumed: Commands = wasPaused && !this.#paused ? [{ do: 'fetch' }] : []
    const next: Commands = lane.notBefore > 0 ? this.#wakeLane(lane, now) : this.#ready(lane)
    return [...next, ...resumed, ...this.#replaceIfReady()]
  }

  #ready(lane: Lane): Commands {
    const head = lane.head
    if (lane.activity !== 'idle' || lane.notBefore > 0 || head === undefined) return []
    if (this.#barrier !== null && head >= this.#barrier.at) return []
    return [{ do: 'ready', lane: lane.position.lane }]
  }

  #readyLanes(): Commands {
    return this.#lanes.flatMap((lane) => this.#ready(lane))
  }

  #pauseOrResume(): void {
    const { messages, bytes } = this.#settings.buffer()
    const queued = this.#lanes.reduce((sum, lane) => sum + lane.queued, 0)
    const queuedBytes = this.#lanes.reduce((sum, lane) => sum + lane.queuedBytes, 0)
    if (queued >= messages || queuedBytes >= bytes) this.#paused = true
    else if (queued <= messages / 2 && queuedBytes <= bytes / 2) this.#paused = false
  }

  #advanceIdle(): Commands {
    const idle = this.#lanes.filter((lane) => isEmpty(lane) && lane.position.nextOffset < this.#dispatched)
    if (idle.length === 0) return []
    for (const lane of idle) lane.activity = 'advance'
    const targets = idle.map(({ position }) => ({ lane: position.lane, epoch: position.epoch, offset: this.#dispatched }))
    return [{ do: 'advance', ownership: this.#ownership, targets }]
  }

  /** When nothing is in flight any more: the idle lanes' last step, then the release. */
  #drained(): Commands {
    if (this.#lanes.some((lane) => lane.activity !== 'idle') || this.#barrier?.replacing === true) return []
    if (!this.#finalAdvance) {
      this.#finalAdvance = true
      const last = this.#advanceIdle()
      if (last.length > 0) return last
    }
    return this.#release()
  }

  #replaceIfReady(): Commands {
    if (this.#barrier === null || this.#barrier.replacing) return []
    const raised = this.#raiseBarrier()
    const barrier = this.#barrier
    const there = this.#lanes.every((lane) => lane.activity === 'idle' && (lane.head === undefined || lane.head >= barrier.at))
    if (!there || this.#dispatched < barrier.at) return raised
    barrier.replacing = true
    const from = this.#lanes.map((lane) => lane.position)
    return [{ do: 'replaceLanes', ownership: this.#ownership, from, count: barrier.count, offset: barrier.at }]
  }

  /** A batch of unknown outcome may turn out to have ended past the barrier. The other lanes must come as far, or its messages would come again. */
  #raiseBarrier(): Commands {
    const furthest = Math.max(...this.#lanes.map((lane) => lane.position.nextOffset))
    if (furthest <= this.#barrier!.at) return []
    this.#barrier = { ...this.#barrier!, at: furthest }
    return [{ do: 'fetch' }, ...this.#readyLanes()]
  }
}

function isEmpty(lane: Lane): boolean {
  return lane.activity === 'idle' && lane.queued === 0
}

/** Those of a partition's parked keys that belong to the lane of this row. */
function ofLane(keys: readonly string[], { lane, lanes }: LanePosition): string[] {
  return keys.filter((key) => laneOf(Buffer.from(key, 'base64'), 0, lanes) === lane)
}
