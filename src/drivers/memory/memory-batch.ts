import type { BatchEnd, BatchTransaction, CommitOutcome, HandlerTransaction, LanePosition, LaneRef } from '../../consumer/port.ts'
import { parkedBytes } from '../../consumer/parked/parked-key.ts'
import { TidemarkError } from '../../errors.ts'
import type { OutboxMessage } from '../../message/outbox-message.ts'
import type { LogRecord } from '../../message/port.ts'
import { type MemoryConsumerTables, type ParkedState, freshState, keyLock, keyName, partitionName } from './memory-consumer-tables.ts'
import type { MemoryDatabase } from './memory-database.ts'
import { type MemoryTransaction, isConflict } from './memory-transaction.ts'

export interface MemoryTransactionParts {
  readonly database: MemoryDatabase
  readonly tables: MemoryConsumerTables
  readonly append: (tx: MemoryTransaction, messages: readonly OutboxMessage[]) => Promise<void>
  readonly standstillMs: number
}

/** A transaction in memory in which handlers run. */
export class MemoryHandlerTransaction implements HandlerTransaction {
  readonly tx: MemoryTransaction
  protected readonly parts: MemoryTransactionParts
  readonly #group: string

  constructor(parts: MemoryTransactionParts, group: string) {
    this.parts = parts
    this.#group = group
    this.tx = parts.database.begin()
  }

  async alreadyHandled(identities: readonly string[]): Promise<ReadonlySet<string>> {
    this.tx.requireOpen()
    const handled = this.parts.tables.handled(this.#group)
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

  mark(): void {
    this.tx.mark()
  }

  async undo(): Promise<boolean> {
    return this.tx.undo()
  }

  async rollBack(): Promise<void> {
    this.tx.rollBack()
  }

  /** Runs the last steps, up to the commit. What they return instead of `null` is why nothing is committed. */
  protected async end<Refusal>(publish: readonly OutboxMessage[], steps: () => Promise<Refusal | null>): Promise<Refusal | null> {
    const { database, append } = this.parts
    try {
      if (publish.length > 0) await append(this.tx, publish)
      const refusal = await steps()
      if (refusal !== null) {
        this.tx.rollBack()
        return refusal
      }
      await database.step('commit', this.tx)
      this.tx.commit()
      return null
    } catch (cause) {
      // Whoever is cut off in the middle of this cannot tell how far it went.
      if (!TidemarkError.is(cause, 'DATABASE_CONNECTION_LOST')) throw cause
      throw new TidemarkError('COMMIT_UNKNOWN', 'The transaction was ended from outside during its commit; its outcome is unknown.', {
        cause,
      })
    }
  }

  /** An id that somebody else is about to add is waited for, as a unique index does. */
  protected async remember(handled: readonly string[]): Promise<'duplicate' | null> {
    const { database, tables } = this.parts
    if (handled.length === 0) return null
    await database.step('remember', this.tx)
    const known = tables.handled(this.#group)
    for (const id of [...handled].sort()) {
      await this.tx.lock(`handled ${this.#group} ${id}`)
      if (known.has(id)) return 'duplicate'
    }
    const now = database.clock.now()
    this.tx.stage(() => handled.forEach((id) => known.set(id, now)))
    return null
  }
}

/** Where the lane stands then, and what others have held in it meanwhile. */
interface Moved {
  position: LanePosition
  held: readonly string[]
}

type Refusal = Exclude<CommitOutcome['outcome'], 'committed' | 'refused'>

/** A lane batch's transaction in memory. Its end takes the steps, and the locks, of the one in Postgres. */
export class MemoryBatch extends MemoryHandlerTransaction implements BatchTransaction {
  readonly #lane: LaneRef

  constructor(parts: MemoryTransactionParts, lane: LaneRef) {
    super(parts, lane.group)
    this.#lane = lane
  }

  async commit(end: BatchEnd): Promise<CommitOutcome> {
    const moved: Moved = { position: end.position, held: [] }
    const refusal = await this.end<Refusal>(end.publish, async () => {
      await this.parts.database.step('compare and set', this.tx)
      return (await this.#move(end, moved)) ?? (await this.#park(end)) ?? (await this.#queue(end)) ?? (await this.remember(end.handled))
    })
    return refusal === null ? { outcome: 'committed', ...moved } : { outcome: refusal }
  }

  /** The compare-and-set. Looks, waits for whoever has the row, and looks again at what that one left. */
  async #move(end: BatchEnd, moved: Moved): Promise<Refusal | null> {
    const { position: from, nextOffset, leaderEpoch, highWater, inFlight } = end
    const { tables, standstillMs } = this.parts
    const lane = this.#lane
    const isThere = (): boolean => {
      const row = tables.lane(lane)
      return row !== undefined && row.epoch === from.epoch && row.nextOffset === from.nextOffset && row.holds >= from.holds
    }
    if (!isThere()) return 'moved'
    await this.tx.lock(laneLock(lane))
    if (!isThere()) return 'moved'
    // Under the lock, so that nobody holds one more.
    const held = tables.heldSince(lane, from)
    if (held === null || end.ran.some((key) => held.includes(key.toString('base64')))) return 'moved'
    const to = { ...from, nextOffset, leaderEpoch, highWater, holds: tables.lane(lane)!.holds }
    moved.position = to
    moved.held = held
    this.tx.limitStandstill(standstillMs)
    this.tx.stage(() => {
      tables.setLane(lane, to)
      tables.setCare(lane, lane.lane, { inFlight })
    })
    return null
  }

  /** What has failed. Its keys cannot be there: the row of the lane is locked. */
  async #park({ park, deadLetters }: BatchEnd): Promise<null> {
    const { database, tables } = this.parts
    const now = database.clock.now()
    for (const { record, attempts, afterMs } of park) {
      await this.tx.lock(keyLock(this.#lane, keyName(record)))
      this.#stageHead(record, false, { attempts: attempts.length, failures: attempts, nextAttemptAt: now + afterMs })
    }
    for (const letter of deadLetters) {
      this.tx.stage(() => tables.bury(this.#lane, letter))
      if (letter.policy === 'block') this.#stageHead(letter.record, true, { nextAttemptAt: Number.POSITIVE_INFINITY })
    }
    return null
  }

  #stageHead(record: LogRecord, dead: boolean, state: Partial<ParkedState>): void {
    const { tables } = this.parts
    this.tx.stage(() => {
      tables.queue(this.#lane, { record, dead })
      tables.note(this.#lane, keyName(record), { ...freshState, ...state })
    })
  }

  /** Locks the keys in their order; one that is gone was released while this batch ran. */
  async #queue({ queue, park, deadLetters, bounds }: BatchEnd): Promise<Refusal | null> {
    const { database, tables } = this.parts
    if (queue.length === 0) return null
    await database.step('queue', this.tx)
    const made = new Set([...park, ...deadLetters].map(({ record }) => keyName(record)))
    const keys = [...new Set(queue.map(keyName))].sort()
    for (const key of keys) await this.tx.lock(keyLock(this.#lane, key))
    const parked = tables.partition(this.#lane)!.parked
    if (!keys.every((key) => parked.has(key) || made.has(key))) return 'released'
    const sizes = keys.map((key) => tables.bytes(this.#lane, key) + bytesOf(queue.filter((record) => keyName(record) === key)))
    if (sizes.some((size) => size > bounds.bytesPerKey) || tables.bytes(this.#lane) + bytesOf(queue) > bounds.bytesPerPartition)
      return 'full'
    for (const record of queue) this.tx.stage(() => tables.queue(this.#lane, { record, dead: false }))
    return null
  }
}

function bytesOf(records: readonly LogRecord[]): number {
  return records.reduce((sum, record) => sum + parkedBytes(record), 0)
}

/** The lock of a lane's row. */
export function laneLock(lane: LaneRef): string {
  return `position ${partitionName(lane)} ${lane.lane}`
}
