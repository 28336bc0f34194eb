import type { LogRecord } from '../../message/port.ts'
import type { BatchOrder, BatchResult } from '../batch/batch-order.ts'
import { Entry } from '../batch/entry.ts'
import { Lane, type LaneSettings, type Moment } from './lane.ts'
import { LaneChange } from './lane-change.ts'
import { laneOf } from './lane-of.ts'
import { type Leaders, contradiction, joined, leaderBefore, leadersOf, noLeaders } from './leaders.ts'
import { outOfRange, truncated } from './lost-place.ts'
import { Ownership, type PartitionPhase } from './ownership.ts'
import type { PartitionCommand, Since } from './partition-command.ts'
import type { LaneNews, LanePosition, LogPlace, PartitionRef, PartitionState } from '../port.ts'

export interface PartitionSettings extends LaneSettings {
  /** Stop reading when so much waits in memory; go on at half of it. */
  readonly buffer: () => { readonly messages: number; readonly bytes: number }
}

type Commands = PartitionCommand[]

/**
 * One partition from its assignment to its release: which messages are in which lane, what each lane does, what must be asked of the store.
 * No I/O, no clock: events come in by its methods, and what is to be done comes back. The protocol is that of `docs/design/consumer.md`.
 * Whose it is, `Ownership` knows; how the number of lanes changes, `LaneChange`.
 */
export class Partition {
  readonly ref: PartitionRef
  readonly #settings: PartitionSettings
  readonly #own = new Ownership()
  readonly #change = new LaneChange()
  #lanes: Lane[] = []
  /** Everything before it was given to the lanes. */
  #dispatched = 0
  /** Of what was read before it, as far back as a lane may still need it. */
  #leaders: Leaders = noLeaders
  #paused = false
  /** While draining: the idle lanes' last step was asked for. */
  #finalAdvance = false
  /** Messages that came again below a lane's position. */
  repeatsBelowPosition = 0

  constructor(ref: PartitionRef, settings: PartitionSettings) {
    this.ref = ref
    this.#settings = settings
  }

  get phase(): PartitionPhase {
    return this.#own.phase
  }

  get ownership(): number {
    return this.#own.number
  }

  get lanes(): readonly Lane[] {
    return this.#lanes
  }

  /** Where to read on; `null` when nothing is to be read now. */
  get fetchFrom(): LogPlace | null {
    if (this.phase !== 'owned' || this.#paused || this.#dispatched >= this.#change.barrier) return null
    return { offset: this.#dispatched, leaderEpoch: leaderBefore(this.#leaders, this.#dispatched) }
  }

  /** Every message before it is done, as far as this owner knows; idle lanes count although their row may stand further back. */
  get settledUpTo(): number | null {
    if (this.#lanes.length === 0) return null
    return Math.min(
      ...this.#lanes.map((lane) => (lane.queued === 0 ? Math.max(this.#dispatched, lane.position.nextOffset) : lane.position.nextOffset)),
    )
  }

  /** The same by the rows alone: whoever takes the partition over, whatever becomes of this owner, is at least so far. */
  get storedUpTo(): number | null {
    if (this.#lanes.length === 0) return null
    return Math.min(...this.#lanes.map((lane) => lane.position.nextOffset))
  }

  // ---- ownership

  assigned(): Commands {
    return this.#own.takeOver()
  }

  tookOver(ownership: number, state: PartitionState): Commands {
    if (this.#own.isStale(ownership) || this.phase !== 'taking') return this.#tookOverTooLate(state)
    this.#install(state)
    const furthestBehind = this.#lanes.map(placeOf).reduce((a, b) => (b.offset < a.offset ? b : a))
    this.#dispatched = furthestBehind.offset
    this.#leaders = leadersOf(furthestBehind)
    return [...this.#own.taken(), { do: 'fetch' }, ...this.#beginChange()]
  }

  takeOverFailed(ownership: number, now: Moment): Commands {
    if (this.#own.isStale(ownership)) return []
    return this.#own.takeOverLater(now)
  }

  /** The assignment ends: no new batches; what is in flight may end. `tell: released` follows. */
  drain(): Commands {
    if (this.phase === 'draining' || this.phase === 'released') return []
    const wasTaking = this.phase === 'taking'
    this.#own.drain()
    this.#change.drain()
    // These wait for the database to come back. Their messages are still queued, so nothing is taken for done.
    for (const lane of this.#lanes) if (lane.activity === 'reload' && lane.notBefore > 0) lane.activity = 'idle'
    return wasTaking ? this.#own.release() : this.#drained()
  }

  /** The assignment is over: nothing in flight counts any more. */
  abandon(): Commands {
    if (this.phase === 'released') return []
    this.#forget()
    return this.#own.abandon()
  }

  // ---- messages

  /** What was read from `from` on. Answers to an outdated question are ignored. */
  fetched(from: number, records: readonly LogRecord[], nextOffset: number, leaders = noLeaders, endOffset = nextOffset): Commands {
    if (this.phase !== 'owned' || from !== this.#dispatched) return []
    const overwritten = this.#overwritten(leaders)
    if (overwritten !== null) return [overwritten]
    for (const lane of this.#lanes) lane.suspectBefore(endOffset)
    for (const record of records) {
      const lane = this.#lanes[laneOf(record.key, record.offset, this.#lanes.length)]!
      if (!lane.push(new Entry(record))) this.repeatsBelowPosition += 1
    }
    this.#dispatched = Math.max(this.#dispatched, nextOffset)
    this.#leaders = joined(this.#leaders, leaders, Math.min(...this.#lanes.map((lane) => lane.position.nextOffset)))
    this.#pauseOrResume()
    return [...this.#readyLanes(), ...this.#replaceIfReady()]
  }

  outOfRange(from: number, startOffset: number, endOffset: number): Commands {
    if (this.phase !== 'owned' || from !== this.#dispatched) return []
    return [{ do: 'fail', error: outOfRange(this.ref, from, startOffset, endOffset) }]
  }

  truncated(from: number, endOffset: number): Commands {
    if (this.phase !== 'owned' || from !== this.#dispatched) return []
    return [{ do: 'fail', error: truncated(this.ref, from, endOffset) }]
  }

  /**
   * The broker has compared the log with the place that is read from. Lanes that stand further on drop what is before their own places: whether that
   * is still what they have handled must be seen here.
   */
  #overwritten(leaders: Leaders): PartitionCommand | null {
    if (leaders.length === 0) return null
    for (const lane of this.#lanes) {
      const place = placeOf(lane)
      const run = contradiction(leaders, place)
      if (run !== null) return { do: 'fail', error: truncated(this.ref, place.offset, run.from) }
    }
    return null
  }

  /** The next batch of a lane that was `ready`, now that a transaction is free. */
  order(lane: number, probe = false): BatchOrder | null {
    const found = this.#lanes[lane]
    if (this.phase !== 'owned' || found === undefined || found.activity !== 'idle' || found.notBefore > 0) return null
    return found.order(this.ref, this.#dispatched, this.#change.barrier, this.#leaders, probe)
  }

  /** Is the next message of this lane one that may have made a process end? */
  isSuspect(lane: number): boolean {
    return this.#lanes[lane]?.isSuspect === true
  }

  batchEnded(ownership: number, order: BatchOrder, result: BatchResult, now: Moment): Commands {
    if (this.#own.isStale(ownership)) return []
    const lane = this.#lanes[order.lane.lane]!
    lane.activity = 'idle'
    switch (result.outcome) {
      case 'committed':
        this.#own.confirmed()
        lane.committed(order, result)
        if (lane.knowsTooMany && this.phase === 'owned') return this.#reload(lane)
        break
      case 'failed':
        lane.failed(result)
        break
      case 'conflict':
        lane.conflicted(order, result, now)
        break
      case 'full':
        lane.full(order, now)
        break
      case 'reload':
        if (result.isHeld) lane.met(order)
        return this.#reload(lane, { position: order.position, waiting: lane.waitingOf(order) })
      case 'lost':
      case 'unavailable':
        if (result.outcome === 'lost') lane.disconnected(order, result)
        lane.interrupted(now)
        lane.activity = 'reload'
        if (this.phase === 'draining') return this.#reload(lane)
        return [{ do: 'wake', afterMs: lane.notBefore - now.elapsed }]
      case 'held':
        lane.held()
        break
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
    if (this.#own.isStale(ownership)) return []
    const mine = this.#lanes[lane]!
    if (row === null || row.position.epoch !== mine.position.epoch || row.position.nextOffset < mine.position.nextOffset)
      return this.#fenced(now)
    mine.knowAll(ofLane(row.parkedKeys, row.position))
    mine.moveTo(row.position)
    mine.activity = 'idle'
    return this.#laneIsIdle(mine, now)
  }

  /** What is new since the lane's row was read; nothing of this owner's own. */
  caughtUp(ownership: number, { position, held, released }: LaneNews, now: Moment): Commands {
    if (this.#own.isStale(ownership)) return []
    const mine = this.#lanes[position.lane]!
    mine.hold(held)
    mine.release(released)
    mine.moveTo(position)
    mine.activity = 'idle'
    return this.#laneIsIdle(mine, now)
  }

  reloadFailed(ownership: number, lane: number, now: Moment): Commands {
    if (this.#own.isStale(ownership)) return []
    if (this.phase === 'draining') return this.#own.release()
    const mine = this.#lanes[lane]!
    mine.interrupted(now)
    return [{ do: 'wake', afterMs: mine.notBefore - now.elapsed }]
  }

  /** Time passed: whatever waited for it goes on. */
  wake(now: Moment): Commands {
    if (this.phase !== 'owned') return this.#own.wake()
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
    if (this.phase !== 'owned' || this.#change.isUnderWay) return []
    return this.#advanceIdle()
  }

  advanced(ownership: number, targets: readonly { readonly lane: number }[], moved: readonly LanePosition[], now: Moment): Commands {
    if (this.#own.isStale(ownership)) return []
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
    if (this.#own.isStale(ownership)) return []
    if (this.phase === 'draining') return this.#own.release()
    return targets.flatMap((target) => {
      const lane = this.#lanes[target.lane]!
      lane.activity = 'reload'
      lane.interrupted(now)
      return [{ do: 'wake' as const, afterMs: lane.notBefore - now.elapsed }]
    })
  }

  // ---- number of lanes

  /** Changes the lane count, now or as soon as the partition is owned. */
  changeLanes(count: number): Commands {
    this.#change.want(count)
    return this.#beginChange()
  }

  replaced(ownership: number, state: PartitionState | 'fenced', now: Moment): Commands {
    if (this.#own.isStale(ownership)) return []
    if (state === 'fenced') return this.#fenced(now)
    const waiting = this.#lanes.flatMap((lane) => lane.takeAll()).sort((a, b) => a.record.offset - b.record.offset)
    this.#dispatched = Math.max(this.#dispatched, this.#change.barrier)
    this.#change.end()
    this.#install(state)
    for (const entry of waiting) this.#lanes[laneOf(entry.record.key, entry.record.offset, this.#lanes.length)]!.push(entry)
    if (this.phase === 'draining') return this.#drained()
    return [{ do: 'fetch' }, ...this.#readyLanes(), ...this.#beginChange()]
  }

  /** Whether the rows were replaced is not known: taking over again tells. */
  replaceFailed(ownership: number, now: Moment): Commands {
    if (this.#own.isStale(ownership)) return []
    return this.#fenced(now)
  }

  // ---- inside

  /** The assignment ended meanwhile, and nothing was run by it. What a former owner may have been ended by is not forgotten for that. */
  #tookOverTooLate({ lanes }: PartitionState): Commands {
    if (this.phase !== 'released') return []
    const unsuspected = lanes.filter(({ suspects }) => suspects === 0)
    return unsuspected.length === 0 ? [] : [{ do: 'giveBack', lanes: unsuspected.map(({ lane, epoch }) => ({ lane, epoch })) }]
  }

  #install(state: PartitionState): void {
    this.#lanes = state.lanes.map((position) => new Lane(position, ofLane(state.parkedKeys, position), this.#settings))
  }

  #fenced(now: Moment): Commands {
    this.#forget()
    return this.#own.fenced(now)
  }

  #forget(): void {
    this.#lanes = []
    this.#change.end()
    this.#paused = false
    this.#finalAdvance = false
  }

  #reload(lane: Lane, since: Since | null = null): Commands {
    lane.activity = 'reload'
    return [{ do: 'reload', ownership: this.ownership, lane: lane.position.lane, since: lane.knowsTooMany ? null : since }]
  }

  #laneIsIdle(lane: Lane, now: Moment): Commands {
    if (this.phase === 'draining') return this.#drained()
    const wasPaused = this.#paused
    this.#pauseOrResume()
    const resumed: Commands = wasPaused && !this.#paused ? [{ do: 'fetch' }] : []
    const next: Commands = lane.notBefore > 0 ? this.#wakeLane(lane, now) : this.#ready(lane)
    return [...next, ...resumed, ...this.#replaceIfReady()]
  }

  #ready(lane: Lane): Commands {
    const head = lane.head
    if (lane.activity !== 'idle' || lane.notBefore > 0 || head === undefined) return []
    if (head >= this.#change.barrier) return []
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
    const there = { offset: this.#dispatched, leaderEpoch: leaderBefore(this.#leaders, this.#dispatched) }
    const targets = idle.map(({ position: { lane, epoch } }) => ({ lane, epoch, ...there }))
    return [{ do: 'advance', ownership: this.ownership, targets }]
  }

  /** When nothing is in flight any more: the idle lanes' last step, then the release. */
  #drained(): Commands {
    if (this.#lanes.some((lane) => lane.activity !== 'idle') || this.#change.isReplacing) return []
    if (!this.#finalAdvance) {
      this.#finalAdvance = true
      const last = this.#advanceIdle()
      if (last.length > 0) return last
    }
    return [...this.#giveBack(), ...this.#own.release()]
  }

  /** Whoever comes next need not suspect anything. */
  #giveBack(): Commands {
    return [{ do: 'giveBack', lanes: this.#lanes.map(({ position: { lane, epoch } }) => ({ lane, epoch })) }]
  }

  #beginChange(): Commands {
    if (this.phase !== 'owned' || !this.#change.begin(this.#lanes)) return []
    return [{ do: 'fetch' }, ...this.#replaceIfReady()]
  }

  #replaceIfReady(): Commands {
    if (!this.#change.isUnderWay || this.#change.isReplacing) return []
    const raised: Commands = this.#change.raise(this.#lanes) ? [{ do: 'fetch' }, ...this.#readyLanes()] : []
    const replace = this.#change.replace(this.#lanes, this.#dispatched, this.#leaders, this.ownership)
    return replace.length > 0 ? replace : raised
  }
}

function placeOf({ position: { nextOffset, leaderEpoch } }: Lane): LogPlace {
  return { offset: nextOffset, leaderEpoch }
}

function isEmpty(lane: Lane): boolean {
  return lane.activity === 'idle' && lane.queued === 0
}

/** Those of a partition's parked keys that belong to the lane of this row. */
function ofLane(keys: readonly string[], { lane, lanes }: LanePosition): string[] {
  return keys.filter((key) => laneOf(Buffer.from(key, 'base64'), 0, lanes) === lane)
}
