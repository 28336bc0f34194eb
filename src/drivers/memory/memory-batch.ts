import type { BatchEnd, BatchTransaction, CommitOutcome, LanePosition, LaneRef } from '../../consumer/port.ts'
import { TidemarkError } from '../../errors.ts'
import type { OutboxMessage } from '../../message/outbox-message.ts'
import type { LogRecord } from '../../message/port.ts'
import { type MemoryConsumerTables, keyLock, keyName, partitionName } from './memory-consumer-tables.ts'
import type { MemoryDatabase } from './memory-database.ts'
import { type MemoryTransaction, isConflict } from './memory-transaction.ts'

interface MemoryBatchParts {
  readonly database: MemoryDatabase
  readonly tables: MemoryConsumerTables
  readonly lane: LaneRef
  readonly append: (tx: MemoryTransaction, messages: readonly OutboxMessage[]) => Promise<void>
  readonly standstillMs: number
}

type Refusal = Exclude<CommitOutcome['outcome'], 'committed' | 'refused'>

/** A lane batch's transaction in memory. Its end takes the steps, and the locks, of the one in Postgres. */
export class MemoryBatch implements BatchTransaction {
  readonly tx: MemoryTransaction
  readonly #parts: MemoryBatchParts

  constructor(parts: MemoryBatchParts) {
    this.#parts = parts
    this.tx = parts.database.begin()
  }

  async alreadyHandled(identities: readonly string[]): Promise<ReadonlySet<string>> {
    this.tx.requireOpen()
    const handled = this.#parts.tables.handled(this.#parts.lane.group)
    return new Set(identities.filter((id) => handled.has(id)))
  }

  async status(): Promise<'open' | 'failed' | 'none'> {
    if (this.tx.state === 'lost') this.tx.requireOpen()
    return this.tx.state === 'open' || this.tx.state === 'failed' ? this.tx.state : 'none'
  }

  blame(error: unknown): 'handler' | 'conflict' | 'lost' {
    if (this.tx.state === 'lost') return 'lost'
    return isConflict(error) ? 'conflict' : 'handler'
  }

  async commit(end: BatchEnd): Promise<CommitOutcome> {
    const { database, lane, append, standstillMs } = this.#parts
    const position: LanePosition = {
      ...end.position,
      nextOffset: end.nextOffset,
      leaderEpoch: end.leaderEpoch,
      highWater: end.highWater,
    }
    try {
      if (end.publish.length > 0) await append(this.tx, end.publish)
      await database.step('compare and set', this.tx)
      const refusal = (await this.#move(end.position, position, standstillMs)) ?? (await this.#queue(end)) ?? (await this.#remember(end))
      if (refusal !== null) {
        this.tx.rollBack()
        return { outcome: refusal }
      }
      this.#bury(end, lane)
      await database.step('commit', this.tx)
      this.tx.commit()
      return { outcome: 'committed', position }
    } catch (cause) {
      // Whoever is cut off in the middle of this cannot tell how far it went.
      if (!TidemarkError.is(cause, 'DATABASE_CONNECTION_LOST')) throw cause
      throw new TidemarkError('COMMIT_UNKNOWN', 'The transaction was ended from outside during its commit; its outcome is unknown.', {
        cause,
      })
    }
  }

  async rollBack(): Promise<void> {
    this.tx.rollBack()
  }

  /** The compare-and-set. Looks, waits for whoever has the row, and looks again at what that one left. */
  async #move(from: LanePosition, to: LanePosition, standstillMs: number): Promise<Refusal | null> {
    const { tables, lane } = this.#parts
    const isThere = (): boolean => {
      const row = tables.lane(lane)
      return row !== undefined && row.epoch === from.epoch && row.nextOffset === from.nextOffset && row.holds === from.holds
    }
    if (!isThere()) return 'moved'
    await this.tx.lock(laneLock(lane))
    if (!isThere()) return 'moved'
    this.tx.limitStandstill(standstillMs)
    this.tx.stage(() => tables.setLane(lane, to))
    return null
  }

  /** Locks the keys in their order; one that is gone was released while this batch ran. */
  async #queue({ queue }: BatchEnd): Promise<Refusal | null> {
    const { database, tables, lane } = this.#parts
    if (queue.length === 0) return null
    await database.step('queue', this.tx)
    const keys = [...new Set(queue.map(keyName))].sort()
    for (const key of keys) await this.tx.lock(keyLock(lane, key))
    const parked = tables.partition(lane)!.parked
    if (!keys.every((key) => parked.has(key))) return 'released'
    for (const record of queue) this.#stageQueue(record, false)
    return null
  }

  #bury({ deadLetter }: BatchEnd, { group, topic, topicId, partition }: LaneRef): void {
    const { tables } = this.#parts
    if (deadLetter === null) return
    this.tx.stage(() => void tables.deadLetters.push({ ...deadLetter, partition: { group, topic, topicId, partition } }))
    if (deadLetter.policy === 'block') this.#stageQueue(deadLetter.record, true)
  }

  #stageQueue(record: LogRecord, dead: boolean): void {
    const { tables, lane } = this.#parts
    this.tx.stage(() => tables.queue(lane, { record, dead }))
  }

  /** An id that somebody else is about to add is waited for, as a unique index does. */
  async #remember({ handled }: BatchEnd): Promise<Refusal | null> {
    const { database, tables, lane } = this.#parts
    if (handled.length === 0) return null
    await database.step('remember', this.tx)
    const known = tables.handled(lane.group)
    for (const id of [...handled].sort()) {
      await this.tx.lock(`handled ${lane.group} ${id}`)
      if (known.has(id)) return 'duplicate'
    }
    const now = database.clock.now()
    this.tx.stage(() => handled.forEach((id) => known.set(id, now)))
    return null
  }
}

/** The lock of a lane's row. */
export function laneLock(lane: LaneRef): string {
  return `position ${partitionName(lane)} ${lane.lane}`
}
