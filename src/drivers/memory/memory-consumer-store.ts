import type {
  AdvanceTarget,
  BatchEnd,
  BatchTransaction,
  CommitOutcome,
  ConsumerStore,
  DeadLetter,
  FirstPositions,
  LanePosition,
  LaneRef,
  PartitionPosition,
  PartitionRef,
  PartitionState,
  TakeOver,
  TopicRef,
} from '../../consumer/port.ts'
import { TidemarkError } from '../../errors.ts'
import { highestOf } from '../../inbox/high-water.ts'
import type { OutboxMessage } from '../../message/outbox-message.ts'
import type { LogRecord } from '../../message/port.ts'
import { type MemoryData, MemoryTransaction } from './memory-transaction.ts'

export interface MemoryConsumerStoreOptions {
  /**
   * Awaited before and after everything the store does, for simulations: what it throws before keeps it from being done; what it throws after a
   * `commit` is a lost reply.
   */
  readonly step?: (what: string, when: 'before' | 'after') => Promise<void>
}

/** A message that waits behind its key. */
export interface ParkedMessage {
  readonly record: LogRecord
  readonly dead: boolean
}

interface MemoryPartition {
  readonly ref: PartitionRef
  lanes: LanePosition[]
  /** By key, base64. */
  readonly parked: Map<string, ParkedMessage[]>
}

/** Positions, inbox, parked keys and dead letters in memory, for tests and simulations: the protocol of the real one, without its locks. */
export class MemoryConsumerStore implements ConsumerStore {
  /** What handlers keep. */
  readonly data: MemoryData = new Map()
  readonly deadLetters: DeadLetter[] = []
  /** What handlers published, in the order of the commits. */
  readonly published: OutboxMessage[] = []
  readonly #inbox = new Map<string, Set<string>>()
  readonly #partitions = new Map<string, MemoryPartition>()
  readonly #step: (what: string, when: 'before' | 'after') => Promise<void>

  constructor({ step = async () => undefined }: MemoryConsumerStoreOptions = {}) {
    this.#step = step
  }

  positions(group: string): Promise<readonly PartitionPosition[]> {
    return this.#do('positions', () =>
      [...this.#partitions.values()]
        .filter(({ ref }) => ref.group === group)
        .map(({ ref: { topic, topicId, partition }, lanes }) => ({
          topic,
          topicId,
          partition,
          nextOffset: Math.min(...lanes.map(({ nextOffset }) => nextOffset)),
        })),
    )
  }

  makePositions({ topic, lanes, first, later }: FirstPositions): Promise<void> {
    return this.#do('makePositions', () => {
      const seen = [...this.#partitions.values()].some(({ ref }) => ref.group === topic.group && ref.topicId === topic.topicId)
      const offsets = seen ? later : first
      for (const [partition, offset] of offsets.entries()) {
        const ref = { ...topic, partition }
        if (this.#partitions.has(nameOf(ref))) continue
        this.#partitions.set(nameOf(ref), { ref, lanes: freshLanes(lanes, offset, 0), parked: new Map() })
      }
    })
  }

  takeOver({ partition }: TakeOver): Promise<PartitionState> {
    return this.#do('takeOver', () => {
      const found = this.#partitions.get(nameOf(partition))
      if (found === undefined) return { lanes: [], parkedKeys: [] }
      found.lanes = found.lanes.map((lane) => ({ ...lane, epoch: lane.epoch + 1 }))
      return stateOf(found)
    })
  }

  reload(lane: LaneRef): Promise<{ readonly position: LanePosition; readonly parkedKeys: readonly string[] } | null> {
    return this.#do('reload', () => {
      const found = this.#partitions.get(nameOf(lane))
      const position = found?.lanes[lane.lane]
      return found === undefined || position === undefined ? null : { position, parkedKeys: [...found.parked.keys()] }
    })
  }

  advance(partition: PartitionRef, targets: readonly AdvanceTarget[]): Promise<readonly LanePosition[]> {
    return this.#do('advance', () => {
      const found = this.#partitions.get(nameOf(partition))!
      return targets.flatMap(({ lane, epoch, offset }) => {
        const row = found.lanes[lane]
        if (row === undefined || row.epoch !== epoch || row.nextOffset >= offset) return []
        found.lanes[lane] = { ...row, nextOffset: offset }
        return [found.lanes[lane]]
      })
    })
  }

  replaceLanes(partition: PartitionRef, from: readonly LanePosition[], count: number, offset: number): Promise<PartitionState | 'fenced'> {
    return this.#do('replaceLanes', () => {
      const found = this.#partitions.get(nameOf(partition))!
      const same =
        found.lanes.length === from.length &&
        found.lanes.every((row, i) => row.epoch === from[i]!.epoch && row.nextOffset === from[i]!.nextOffset)
      if (!same) return 'fenced'
      const epoch = 1 + Math.max(...found.lanes.map((row) => row.epoch))
      const highWater = highestOf(found.lanes.map((row) => row.highWater))
      found.lanes = freshLanes(count, offset, epoch).map((lane) => ({ ...lane, highWater }))
      return stateOf(found)
    })
  }

  async begin(lane: LaneRef): Promise<BatchTransaction> {
    await this.#step('begin', 'before')
    const tx = new MemoryTransaction(this.data, () => this.#step('query', 'before'))
    return {
      tx,
      alreadyHandled: (identities) => this.#do('alreadyHandled', () => new Set(identities.filter((id) => this.#handled(lane).has(id)))),
      status: async () => tx.state,
      blame: () => 'handler',
      commit: (end) => this.#commit(lane, tx, end),
      rollBack: async () => tx.end(),
    }
  }

  async forgetHandled(): Promise<void> {
    // It keeps everything: it lives no longer than a test.
  }

  /** What waits, by key in base64. */
  parked(partition: PartitionRef): ReadonlyMap<string, readonly ParkedMessage[]> {
    return this.#partitions.get(nameOf(partition))?.parked ?? new Map<string, ParkedMessage[]>()
  }

  async #commit(lane: LaneRef, tx: MemoryTransaction, end: BatchEnd): Promise<CommitOutcome> {
    await this.#step('commit', 'before')
    if (tx.state === 'failed') throw new TidemarkError('TRANSACTION_ABORTED', 'A command of this transaction had failed.')
    const result = this.#compareAndCommit(lane, tx, end)
    try {
      await this.#step('commit', 'after')
    } catch (cause) {
      throw new TidemarkError('COMMIT_UNKNOWN', 'The reply to the commit was lost.', { cause })
    }
    return result
  }

  #compareAndCommit(lane: LaneRef, tx: MemoryTransaction, end: BatchEnd): CommitOutcome {
    const { position } = end
    const found = this.#partitions.get(nameOf(lane))!
    const row = found.lanes[lane.lane]
    if (row === undefined || row.epoch !== position.epoch || row.nextOffset !== position.nextOffset || row.holds !== position.holds) {
      return { outcome: 'moved' }
    }
    if (end.queue.some(({ key }) => !found.parked.has(key!.toString('base64')))) return { outcome: 'released' }
    const handled = this.#handled(lane)
    if (end.handled.some((id) => handled.has(id))) return { outcome: 'duplicate' }
    for (const id of end.handled) handled.add(id)
    for (const record of end.queue) found.parked.get(record.key!.toString('base64'))!.push({ record, dead: false })
    if (end.deadLetter !== null) this.#bury(found, end.deadLetter)
    this.published.push(...end.publish)
    tx.commitTo(this.data)
    const moved = { ...row, nextOffset: end.nextOffset, highWater: end.highWater }
    found.lanes[lane.lane] = moved
    return { outcome: 'committed', position: moved }
  }

  #bury(found: MemoryPartition, letter: DeadLetter): void {
    this.deadLetters.push(letter)
    if (letter.policy === 'block') found.parked.set(letter.record.key!.toString('base64'), [{ record: letter.record, dead: true }])
  }

  #handled({ group }: TopicRef): Set<string> {
    const handled = this.#inbox.get(group) ?? new Set<string>()
    this.#inbox.set(group, handled)
    return handled
  }

  async #do<T>(what: string, work: () => T): Promise<T> {
    await this.#step(what, 'before')
    const result = work()
    await this.#step(what, 'after')
    return result
  }
}

function nameOf({ group, topicId, partition }: PartitionRef): string {
  return JSON.stringify([group, topicId, partition])
}

function freshLanes(count: number, nextOffset: number, epoch: number): LanePosition[] {
  return Array.from({ length: count }, (_, lane) => ({ lane, lanes: count, nextOffset, epoch, holds: 0, highWater: {}, at: null }))
}

function stateOf({ lanes, parked }: MemoryPartition): PartitionState {
  return { lanes, parkedKeys: [...parked.keys()] }
}
