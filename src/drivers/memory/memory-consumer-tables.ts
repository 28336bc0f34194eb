import { parkedBytes, parkedKeyOf } from '../../consumer/parked/parked-key.ts'
import type { DeadLetter, FailedAttempt, LanePosition, LaneRef, LogPlace, PartitionRef, PartitionState } from '../../consumer/port.ts'
import type { LogRecord } from '../../message/port.ts'
import { type LetterLife, newLife } from './memory-letters.ts'

/** A message that waits behind its key. */
export interface ParkedMessage {
  readonly record: LogRecord
  /** It is a dead letter, and blocks those behind it. */
  readonly dead: boolean
  /** The number of the letter that it was before it was redriven. */
  readonly letterId?: number
}

/** What is noted of a parked key. Kept apart from its queue: a key of which nothing is noted is due. */
export interface ParkedState {
  readonly lease: string | null
  /** Milliseconds since 1970. */
  readonly leaseUntil: number
  readonly attempts: number
  readonly failures: readonly FailedAttempt[]
  readonly crashes: number
  readonly nextAttemptAt: number
}

export const freshState: ParkedState = { lease: null, leaseUntil: 0, attempts: 0, failures: [], crashes: 0, nextAttemptAt: 0 }

/** What is suspected of a lane, as in Postgres. */
export interface LaneCare {
  readonly taken: boolean
  readonly inFlight: number
  readonly marked: number | null
  readonly marks: number
}

export const noCare: LaneCare = { taken: false, inFlight: 0, marked: null, marks: 0 }

export interface MemoryPartition {
  readonly ref: PartitionRef
  lanes: readonly LanePosition[]
  /** By key, base64. */
  readonly parked: Map<string, readonly ParkedMessage[]>
  /** By key, too. */
  readonly states: Map<string, ParkedState>
  /** Keys that somebody holds, whether anything waits or not. */
  readonly held: Map<string, MemoryHeldKey>
  /** By lane. */
  readonly care: Map<number, LaneCare>
  /** What the lanes' counts of holds were raised for, oldest first. */
  holds: readonly MemoryHold[]
}

/** An operator's hold of a key. */
export interface MemoryHeldKey {
  readonly by: string
  readonly since: Date
  readonly reason: string | null
}

/** A raise of a lane's count of holds. */
export interface MemoryHold {
  readonly lane: number
  readonly epoch: number
  /** The count from then on. */
  readonly hold: number
  /** Base64. */
  readonly keys: readonly string[]
}

/** So many raises are remembered of a partition: few, so that those who lag behind are met. */
const mostHolds = 24

/** A dead letter, and where it comes from. */
export interface MemoryDeadLetter extends DeadLetter {
  readonly partition: PartitionRef
}

/** The tables of the consumers, committed. */
export class MemoryConsumerTables {
  readonly partitions = new Map<string, MemoryPartition>()
  readonly deadLetters: MemoryDeadLetter[] = []
  /** What has happened to them since, by their numbers from 1 on. */
  readonly letterLives = new Map<number, LetterLife>()
  /** When each identity was handled, by group. */
  readonly #handled = new Map<string, Map<string, number>>()
  #forgottenBefore: number | null = null

  partition(ref: PartitionRef): MemoryPartition | undefined {
    return this.partitions.get(partitionName(ref))
  }

  lane(ref: LaneRef): LanePosition | undefined {
    return this.partition(ref)?.lanes[ref.lane]
  }

  setLane(ref: PartitionRef, position: LanePosition): void {
    const partition = this.partition(ref)!
    partition.lanes = partition.lanes.map((lane) => (lane.lane === position.lane ? position : lane))
  }

  /** Raises a lane's count of holds, and notes what for. */
  hold(ref: LaneRef, keys: readonly string[]): void {
    const row = this.lane(ref)!
    const hold = row.holds + 1
    this.setLane(ref, { ...row, holds: hold })
    const partition = this.partition(ref)!
    partition.holds = [...partition.holds, { lane: ref.lane, epoch: row.epoch, hold, keys }].slice(-mostHolds)
  }

  /** The keys that were held in a lane since its owner read it; `null`: that is not known. */
  heldSince(ref: LaneRef, { epoch, holds }: LanePosition): readonly string[] | null {
    const now = this.lane(ref)!.holds
    const raises = (this.partition(ref)?.holds ?? []).filter((one) => {
      return one.lane === ref.lane && one.epoch === epoch && one.hold > holds && one.hold <= now
    })
    return raises.length === now - holds ? raises.flatMap(({ keys }) => keys) : null
  }

  queue(ref: PartitionRef, message: ParkedMessage): void {
    const { parked } = this.partition(ref)!
    const key = keyName(message.record)
    const queue = (parked.get(key) ?? []).filter(({ record }) => record.offset !== message.record.offset)
    parked.set(key, [...queue, message])
  }

  /** Notes something of a key that waits. */
  note(ref: PartitionRef, key: string, change: Partial<ParkedState>): void {
    const { states } = this.partition(ref)!
    states.set(key, { ...(states.get(key) ?? freshState), ...change })
  }

  /** Takes messages out of a queue. Nothing is noted of the key then, and it is gone when nothing waits any more. */
  remove(ref: PartitionRef, key: string, offsets: readonly number[]): void {
    const { parked, states } = this.partition(ref)!
    const left = (parked.get(key) ?? []).filter(({ record }) => !offsets.includes(record.offset))
    states.delete(key)
    parked.set(key, left)
    this.dropIfEmpty(ref, key)
  }

  /** Only where nobody holds the key by name. */
  dropIfEmpty(ref: PartitionRef, key: string): void {
    const { parked, states, held } = this.partition(ref)!
    if ((parked.get(key) ?? []).length > 0 || held.has(key)) return
    states.delete(key)
    parked.delete(key)
  }

  /** Gives a message up. One that dies again is the same letter. */
  bury(ref: PartitionRef, letter: DeadLetter): void {
    const { group, topic, topicId, partition } = ref
    const place = this.deadLetters.findIndex(
      (old) => partitionName(old.partition) === partitionName(ref) && old.record.offset === letter.record.offset,
    )
    if (place === -1) {
      this.deadLetters.push({ ...letter, partition: { group, topic, topicId, partition } })
      return
    }
    const old = this.deadLetters[place]!
    this.deadLetters[place] = { ...letter, record: old.record, partition: old.partition, attempts: [...old.attempts, ...letter.attempts] }
    const life = this.letterLives.get(place + 1) ?? newLife
    this.letterLives.set(place + 1, {
      ...life,
      version: life.version + 1,
      state: 'dead',
      endedAt: null,
      endedBy: null,
      endReason: null,
      archivedAt: null,
    })
  }

  /** What waits behind a key, and in a partition, in bytes. */
  bytes(ref: PartitionRef, key?: string): number {
    const { parked } = this.partition(ref)!
    const queues = key === undefined ? [...parked.values()] : [parked.get(key) ?? []]
    return queues.flat().reduce((sum, { record }) => sum + parkedBytes(record), 0)
  }

  care(ref: LaneRef): LaneCare {
    return this.partition(ref)?.care.get(ref.lane) ?? noCare
  }

  setCare(ref: PartitionRef, lane: number, change: Partial<LaneCare>): void {
    const { care } = this.partition(ref)!
    care.set(lane, { ...(care.get(lane) ?? noCare), ...change })
  }

  handled(group: string): Map<string, number> {
    const known = this.#handled.get(group) ?? new Map<string, number>()
    this.#handled.set(group, known)
    return known
  }

  /** Since when every handled id is remembered; `null`: none was forgotten. */
  get forgottenBefore(): number | null {
    return this.#forgottenBefore
  }

  forgetHandledBefore(time: number): void {
    for (const ids of this.#handled.values()) {
      for (const [id, at] of ids) {
        if (at >= time) continue
        ids.delete(id)
        this.#forgottenBefore = Math.max(this.#forgottenBefore ?? 0, time)
      }
    }
  }
}

export function partitionName({ group, topicId, partition }: PartitionRef): string {
  return JSON.stringify([group, topicId, partition])
}

/** The lock of a parked key. */
export function keyLock(ref: PartitionRef, key: string): string {
  return `parked ${partitionName(ref)} ${key}`
}

/** The order in which all lock rows of several partitions. */
export function byPlace(a: PartitionRef, b: PartitionRef): number {
  if (a.topicId === b.topicId) return a.partition - b.partition
  return a.topicId < b.topicId ? -1 : 1
}

/** Under which key a message waits. */
export function keyName(record: LogRecord): string {
  return parkedKeyOf(record).key.toString('base64')
}

export function freshLanes(count: number, { offset, leaderEpoch }: LogPlace, epoch: number): LanePosition[] {
  const same = { lanes: count, nextOffset: offset, leaderEpoch, epoch, holds: 0, highWater: {}, suspects: 0, at: null }
  return Array.from({ length: count }, (_, lane) => ({ lane, ...same }))
}

export function stateOf({ lanes, parked }: MemoryPartition): PartitionState {
  return { lanes, parkedKeys: [...parked.keys()] }
}
