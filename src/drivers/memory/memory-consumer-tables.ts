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
  /** By lane. */
  readonly care: Map<number, LaneCare>
}

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
    if (left.length === 0) parked.delete(key)
    else parked.set(key, left)
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
