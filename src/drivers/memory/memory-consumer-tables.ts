import type { DeadLetter, LanePosition, LaneRef, LogPlace, PartitionRef, PartitionState } from '../../consumer/port.ts'
import type { LogRecord } from '../../message/port.ts'
import type { LetterLife } from './memory-letters.ts'

/** A message that waits behind its key. */
export interface ParkedMessage {
  readonly record: LogRecord
  /** It is a dead letter, and blocks those behind it. */
  readonly dead: boolean
}

export interface MemoryPartition {
  readonly ref: PartitionRef
  lanes: readonly LanePosition[]
  /** By key, base64. */
  readonly parked: Map<string, readonly ParkedMessage[]>
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
    parked.set(key, [...(parked.get(key) ?? []), message])
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

/** A message that queues has a key. */
export function keyName({ key }: LogRecord): string {
  return key!.toString('base64')
}

export function freshLanes(count: number, { offset, leaderEpoch }: LogPlace, epoch: number): LanePosition[] {
  const same = { lanes: count, nextOffset: offset, leaderEpoch, epoch, holds: 0, highWater: {}, at: null }
  return Array.from({ length: count }, (_, lane) => ({ lane, ...same }))
}

export function stateOf({ lanes, parked }: MemoryPartition): PartitionState {
  return { lanes, parkedKeys: [...parked.keys()] }
}
