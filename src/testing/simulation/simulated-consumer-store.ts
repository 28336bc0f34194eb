import type {
  AdvanceTarget,
  BatchTransaction,
  ConsumerStore,
  FirstPositions,
  LaneNews,
  LanePosition,
  LaneRef,
  LogPlace,
  PartitionPosition,
  PartitionRef,
  PartitionState,
  TakeOver,
} from '../../consumer/port.ts'
import type { Ledger } from './ledger.ts'
import { SimulatedBatch } from './simulated-batch.ts'
import { SimulatedParkedStore } from './simulated-parked-store.ts'
import { connectionLost } from './simulated-outbox-store.ts'
import type { SimulatedProcess } from './simulated-process.ts'
import type { Surroundings } from './surroundings.ts'

/** The consumers' store as one process reaches it. */
export class SimulatedConsumerStore implements ConsumerStore {
  readonly #world: Surroundings
  readonly #process: SimulatedProcess
  readonly #store: ConsumerStore
  readonly #ledger: Ledger
  readonly parked: SimulatedParkedStore

  constructor(world: Surroundings, process: SimulatedProcess, store: ConsumerStore, ledger: Ledger) {
    this.#world = world
    this.#process = process
    this.#store = store
    this.#ledger = ledger
    this.parked = new SimulatedParkedStore(world, process, store.parked, ledger)
  }

  positions(group: string): Promise<readonly PartitionPosition[]> {
    return this.#call('positions', () => this.#store.positions(group))
  }

  makePositions(first: FirstPositions): Promise<void> {
    return this.#call('make positions', () => this.#store.makePositions(first))
  }

  takeOver(request: TakeOver): Promise<PartitionState> {
    const { partition } = request
    return this.#call(`take over ${partition.topic}-${partition.partition}`, async () => {
      const state = await this.#store.takeOver(request)
      // Nothing has happened since its commit.
      this.#ledger.tookOver(partition, epochOf(state), this.#process.name)
      return state
    })
  }

  reload(lane: LaneRef): Promise<{ readonly position: LanePosition; readonly parkedKeys: readonly string[] } | null> {
    return this.#call(`reload ${lane.topic}-${lane.partition}/${lane.lane}`, () => this.#store.reload(lane))
  }

  catchUp(lane: LaneRef, known: LanePosition, waiting: readonly string[]): Promise<LaneNews | null> {
    return this.#call(`catch up with ${lane.topic}-${lane.partition}/${lane.lane}`, () => this.#store.catchUp(lane, known, waiting))
  }

  advance(partition: PartitionRef, targets: readonly AdvanceTarget[]): Promise<readonly LanePosition[]> {
    return this.#call(`advance ${partition.topic}-${partition.partition}`, () => this.#store.advance(partition, targets))
  }

  replaceLanes(partition: PartitionRef, from: readonly LanePosition[], count: number, at: LogPlace): Promise<PartitionState | 'fenced'> {
    return this.#call(`replace lanes of ${partition.topic}-${partition.partition} by ${count}`, async () => {
      const state = await this.#store.replaceLanes(partition, from, count, at)
      if (state !== 'fenced') this.#ledger.tookOver(partition, epochOf(state), this.#process.name)
      return state
    })
  }

  async begin(lane: LaneRef): Promise<BatchTransaction> {
    const inner = await this.#call(`begin ${lane.topic}-${lane.partition}/${lane.lane}`, () => this.#store.begin(lane))
    return new SimulatedBatch(this.#world, this.#process, inner, lane, this.#ledger)
  }

  mark(lane: LaneRef, position: LanePosition, offset: number): Promise<{ readonly marks: number; readonly at: string | null } | null> {
    return this.#call(`mark ${lane.topic}-${lane.partition}/${lane.lane} ${offset}`, () => {
      this.#world.count('marked')
      return this.#store.mark(lane, position, offset)
    })
  }

  unmark(lane: LaneRef, position: LanePosition, offset: number): Promise<void> {
    return this.#call(`unmark ${lane.topic}-${lane.partition}/${lane.lane} ${offset}`, () => this.#store.unmark(lane, position, offset))
  }

  giveBack(partition: PartitionRef, lanes: readonly { readonly lane: number; readonly epoch: number }[]): Promise<void> {
    return this.#call(`give back ${partition.topic}-${partition.partition}`, () => this.#store.giveBack(partition, lanes))
  }

  forgetHandled(retentionMs: number): Promise<void> {
    return this.#call('forget handled', () => this.#store.forgetHandled(retentionMs))
  }

  #call<T>(what: string, work: () => Promise<T>): Promise<T> {
    return this.#process.call(what, work, connectionLost)
  }
}

function epochOf({ lanes }: PartitionState): number {
  return Math.max(0, ...lanes.map(({ epoch }) => epoch))
}
