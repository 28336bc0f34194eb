import type { Lane } from './lane.ts'
import { type Leaders, leaderBefore } from './leaders.ts'
import type { PartitionCommand } from './partition-command.ts'

/**
 * A change of a partition's lane count: the lanes run up to a barrier past everything in flight; when all stand there, others take their place
 * and begin at the barrier. Without a change under way the barrier is infinitely far.
 */
export class LaneChange {
  /** The number of lanes asked for, if any was. It outlives ownerships. */
  #wanted: number | null = null
  #underWay: { readonly count: number; readonly barrier: number } | null = null
  #replacing = false

  get isUnderWay(): boolean {
    return this.#underWay !== null
  }

  /** The store was asked to replace the rows: there is no way back. */
  get isReplacing(): boolean {
    return this.#replacing
  }

  /** Messages from this offset on are for the new lanes. */
  get barrier(): number {
    return this.#underWay?.barrier ?? Number.POSITIVE_INFINITY
  }

  want(count: number): void {
    this.#wanted = count
  }

  /** Sets the barrier, if another number of lanes is wanted than there is. */
  begin(lanes: readonly Lane[]): boolean {
    if (this.#wanted === null || this.#underWay !== null || this.#wanted === lanes.length) return false
    this.#underWay = { count: this.#wanted, barrier: Math.max(...lanes.map((lane) => lane.reach)) }
    return true
  }

  /** A batch of unknown outcome may turn out to have ended past the barrier. The other lanes must come as far, or its messages would come again. */
  raise(lanes: readonly Lane[]): boolean {
    const furthest = Math.max(...lanes.map((lane) => lane.position.nextOffset))
    if (this.#underWay === null || furthest <= this.#underWay.barrier) return false
    this.#underWay = { ...this.#underWay, barrier: furthest }
    return true
  }

  /** What to ask of the store, once everything before the barrier was read and is done. */
  replace(lanes: readonly Lane[], dispatched: number, leaders: Leaders, ownership: number): PartitionCommand[] {
    if (this.#underWay === null || this.#replacing) return []
    const { count, barrier } = this.#underWay
    const allThere = lanes.every((lane) => lane.activity === 'idle' && (lane.head === undefined || lane.head >= barrier))
    if (!allThere || dispatched < barrier) return []
    this.#replacing = true
    const at = { offset: barrier, leaderEpoch: leaderBefore(leaders, barrier) }
    return [{ do: 'replaceLanes', ownership, from: lanes.map((lane) => lane.position), count, at }]
  }

  /** The ownership ends: a change is given up, unless the store is at it. */
  drain(): void {
    if (!this.#replacing) this.#underWay = null
  }

  /** It took place, or the ownership in which it was to take place is lost. */
  end(): void {
    this.#underWay = null
    this.#replacing = false
  }
}
