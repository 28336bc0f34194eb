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
import { firstSize } from '../../consumer/partition/batch-size.ts'
import { highestOf } from '../../inbox/high-water.ts'
import type { OutboxMessage } from '../../message/outbox-message.ts'
import { MemoryAlertStore } from './memory-alert-store.ts'
import { MemoryBatch, type MemoryTransactionParts, laneLock } from './memory-batch.ts'
import {
  MemoryConsumerTables,
  type MemoryDeadLetter,
  type MemoryPartition,
  type ParkedMessage,
  freshLanes,
  noCare,
  partitionName,
  stateOf,
} from './memory-consumer-tables.ts'
import { MemoryDatabase } from './memory-database.ts'
import { MemoryDeadLetterStore } from './memory-dead-letter-store.ts'
import { MemoryInboxStore } from './memory-inbox-store.ts'
import { MemoryKeyHolds } from './memory-key-holds.ts'
import { MemoryParkedStore } from './memory-parked-store.ts'
import type { MemoryTransaction } from './memory-transaction.ts'

export interface MemoryConsumerStoreOptions {
  /** @default a database of its own */
  readonly database?: MemoryDatabase
  /** Appends what handlers publish, in the batch's transaction. @default it is dropped */
  readonly append?: (tx: MemoryTransaction, messages: readonly OutboxMessage[]) => Promise<void>
  /** A batch that holds its position's row and stands still for so long is ended. @default 5,000 */
  readonly standstillMs?: number
}

/** Positions, inbox, parked keys and dead letters in memory: the protocol of `docs/design/consumer.md` with its transactions and row locks. */
export class MemoryConsumerStore implements ConsumerStore {
  readonly database: MemoryDatabase
  /** The operator's side of the dead letters. */
  readonly letters: MemoryDeadLetterStore
  readonly alerts: MemoryAlertStore
  /** What the inbox can tell. */
  readonly inbox: MemoryInboxStore
  /** For tests that look behind the store, or take a safeguard out of it. */
  readonly tables = new MemoryConsumerTables()
  readonly parked: MemoryParkedStore
  /** Keys that operators hold. */
  readonly holds: MemoryKeyHolds
  readonly #parts: MemoryTransactionParts

  constructor({
    database = new MemoryDatabase(),
    append = () => Promise.resolve(),
    standstillMs = 5_000,
  }: MemoryConsumerStoreOptions = {}) {
    this.database = database
    this.letters = new MemoryDeadLetterStore(database, this.tables)
    this.alerts = new MemoryAlertStore(database)
    this.inbox = new MemoryInboxStore(this.tables)
    this.#parts = { database, tables: this.tables, append, standstillMs }
    this.holds = new MemoryKeyHolds(database, this.tables)
    this.parked = new MemoryParkedStore(this.#parts)
  }

  /** What was given up, in the order it was. */
  get deadLetters(): readonly MemoryDeadLetter[] {
    return this.tables.deadLetters
  }

  /** What waits in a partition, by key in base64. */
  queues(partition: PartitionRef): ReadonlyMap<string, readonly ParkedMessage[]> {
    return this.tables.partition(partition)?.parked ?? new Map<string, readonly ParkedMessage[]>()
  }

  async positions(group: string): Promise<readonly PartitionPosition[]> {
    const ours = [...this.tables.partitions.values()].filter(({ ref }) => ref.group === group)
    return ours.map(({ ref: { topic, topicId, partition }, lanes }) => {
      return { topic, topicId, partition, nextOffset: Math.min(...lanes.map(({ nextOffset }) => nextOffset)) }
    })
  }

  makePositions({ topic, lanes, first, later }: FirstPositions): Promise<void> {
    return this.database.transaction(async (tx) => {
      await tx.lock(`first positions ${JSON.stringify([topic.group, topic.topicId])}`)
      await this.database.step('make positions', tx)
      const there = [...this.tables.partitions.values()]
      const seen = there.some(({ ref }) => ref.group === topic.group && ref.topicId === topic.topicId)
      for (const [partition, offset] of (seen ? later : first).entries()) {
        const ref = { ...topic, partition }
        if (this.tables.partition(ref) !== undefined) continue
        const made: MemoryPartition = {
          ref,
          lanes: freshLanes(lanes, { offset, leaderEpoch: null }, 0),
          parked: new Map(),
          states: new Map(),
          held: new Map(),
          care: new Map(),
          holds: [],
        }
        tx.stage(() => void this.tables.partitions.set(partitionName(ref), made))
      }
    })
  }

  async takeOver({ partition, lockTimeoutMs, inFlight = firstSize }: TakeOver): Promise<PartitionState> {
    for (;;) {
      const state = await this.database.transaction((tx) => this.#raiseEpochs(tx, partition, lockTimeoutMs, inFlight))
      if (state !== 'blocked') return state
      this.#endBlockers(partition)
    }
  }

  async reload(lane: LaneRef): Promise<{ readonly position: LanePosition; readonly parkedKeys: readonly string[] } | null> {
    const tx = this.database.begin()
    try {
      const position = this.tables.lane(lane)
      // The row first, then the set: the other way round a key parked in between would be missing although its hold was counted.
      await this.database.step('parked keys', tx)
      return position === undefined ? null : { position, parkedKeys: [...this.queues(lane).keys()] }
    } finally {
      tx.rollBack()
    }
  }

  async catchUp(lane: LaneRef, known: LanePosition, waiting: readonly string[]): Promise<LaneNews | null> {
    const tx = this.database.begin()
    try {
      const position = this.tables.lane(lane)
      if (position === undefined || position.epoch !== known.epoch || position.nextOffset !== known.nextOffset) return null
      const held = this.tables.heldSince(lane, known)
      await this.database.step('parked keys', tx)
      const there = this.queues(lane)
      return held === null ? null : { position, held, released: waiting.filter((key) => !there.has(key)) }
    } finally {
      tx.rollBack()
    }
  }

  advance(partition: PartitionRef, targets: readonly AdvanceTarget[]): Promise<readonly LanePosition[]> {
    return this.database.transaction(async (tx) => {
      const moved: LanePosition[] = []
      for (const { lane, epoch, offset, leaderEpoch } of [...targets].sort((a, b) => a.lane - b.lane)) {
        const behind = (): LanePosition | undefined => {
          const row = this.tables.lane({ ...partition, lane })
          return row !== undefined && row.epoch === epoch && row.nextOffset < offset ? row : undefined
        }
        if (behind() === undefined) continue
        await tx.lock(laneLock({ ...partition, lane }))
        // Whoever had the lock may have moved it meanwhile.
        const row = behind()
        if (row === undefined) continue
        const there = { ...row, nextOffset: offset, leaderEpoch }
        moved.push(there)
        tx.stage(() => this.tables.setLane(partition, there))
      }
      return moved
    })
  }

  replaceLanes(partition: PartitionRef, from: readonly LanePosition[], count: number, at: LogPlace): Promise<PartitionState | 'fenced'> {
    return this.database.transaction(async (tx) => {
      for (const { lane } of from) await tx.lock(laneLock({ ...partition, lane }))
      await this.database.step('replace lanes', tx)
      const found = this.tables.partition(partition)
      if (found === undefined || !sameLanes(found.lanes, from)) return 'fenced'
      // Above every old one: an owner of old must not find its number again.
      const epoch = 1 + Math.max(...found.lanes.map((row) => row.epoch))
      const highWater = highestOf(found.lanes.map((row) => row.highWater))
      const lanes = freshLanes(count, at, epoch).map((lane) => ({ ...lane, highWater }))
      tx.stage(() => {
        found.lanes = lanes
        found.care.clear()
        for (const { lane } of lanes) this.tables.setCare(partition, lane, { taken: true, inFlight: firstSize })
      })
      return stateOf({ ...found, lanes })
    })
  }

  async begin(lane: LaneRef): Promise<BatchTransaction> {
    return new MemoryBatch(this.#parts, lane)
  }

  mark(
    lane: LaneRef,
    { epoch, nextOffset, holds }: LanePosition,
    offset: number,
  ): Promise<{ readonly marks: number; readonly at: null } | null> {
    return this.database.transaction(async (tx) => {
      await tx.lock(laneLock(lane))
      await this.database.step('mark', tx)
      const row = this.tables.lane(lane)
      if (row === undefined || row.epoch !== epoch || row.nextOffset !== nextOffset || row.holds !== holds) return null
      const care = this.tables.care(lane)
      const marks = care.marked === offset ? care.marks + 1 : 1
      tx.stage(() => this.tables.setCare(lane, lane.lane, { marked: offset, marks }))
      return { marks, at: null }
    })
  }

  unmark(lane: LaneRef, { epoch }: LanePosition, offset: number): Promise<void> {
    return this.database.transaction(async (tx) => {
      await tx.lock(laneLock(lane))
      await this.database.step('unmark', tx)
      const { marked, marks } = this.tables.care(lane)
      if (this.tables.lane(lane)?.epoch !== epoch || marked !== offset) return
      tx.stage(() => this.tables.setCare(lane, lane.lane, { marked, marks: Math.max(0, marks - 1) }))
    })
  }

  giveBack(partition: PartitionRef, lanes: readonly { readonly lane: number; readonly epoch: number }[]): Promise<void> {
    return this.database.transaction(async (tx) => {
      for (const { lane, epoch } of [...lanes].sort((a, b) => a.lane - b.lane)) {
        await tx.lock(laneLock({ ...partition, lane }))
        if (this.tables.lane({ ...partition, lane })?.epoch === epoch)
          tx.stage(() => this.tables.setCare(partition, lane, { taken: false }))
      }
    })
  }

  async forgetHandled(retentionMs: number): Promise<void> {
    this.tables.forgetHandledBefore(this.database.clock.now() - retentionMs)
  }

  async #raiseEpochs(
    tx: MemoryTransaction,
    partition: PartitionRef,
    timeoutMs: number,
    inFlight: number,
  ): Promise<PartitionState | 'blocked'> {
    const lanes = this.tables.partition(partition)?.lanes ?? []
    for (const { lane } of lanes) if (!(await tx.lock(laneLock({ ...partition, lane }), timeoutMs))) return 'blocked'
    await this.database.step('raise epochs', tx)
    const found = this.tables.partition(partition)
    if (found === undefined) return { lanes: [], parkedKeys: [] }
    // Their number was changed while we waited for the old rows.
    if (found.lanes.length !== lanes.length) return 'blocked'
    const suspected = found.lanes.map(({ lane }) => {
      const care = found.care.get(lane) ?? noCare
      return care.taken ? care.inFlight : 0
    })
    const raised = found.lanes.map((row) => ({ ...row, epoch: row.epoch + 1 }))
    tx.stage(() => {
      found.lanes = raised
      for (const { lane } of raised) this.tables.setCare(partition, lane, { taken: true, inFlight: Math.max(suspected[lane]!, inFlight) })
    })
    await this.database.step('parked keys', tx)
    return stateOf({ ...found, lanes: raised.map((row) => ({ ...row, suspects: suspected[row.lane]! })) })
  }

  /** Ends who holds a lane's row and stands still. Who waits for a lock himself will come to an end. */
  #endBlockers(partition: PartitionRef): void {
    const { locks } = this.database
    for (const { lane } of this.tables.partition(partition)?.lanes ?? []) {
      const holder = locks.holder(laneLock({ ...partition, lane }))
      if (holder !== null && !locks.isWaiting(holder)) holder.terminate()
    }
  }
}

function sameLanes(rows: readonly LanePosition[], from: readonly LanePosition[]): boolean {
  return rows.length === from.length && rows.every((row, i) => row.epoch === from[i]!.epoch && row.nextOffset === from[i]!.nextOffset)
}
