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
import { failureOf } from '../../retry/failure.ts'
import { crashPoint } from '../../internal/crash-point.ts'
import type { Row } from '../../message/transaction.ts'
import { type PostgresDatabase, commit, connectionError, rollBack } from './database.ts'
import { endBlockers } from './end-blockers.ts'
import { quotedSchema } from './migrations/schema-name.ts'
import { ParkedRoom } from './parked-room.ts'
import { PostgresBatch } from './postgres-batch.ts'
import { PostgresParkedStore } from './postgres-parked-store.ts'
import { emptySlot, inboxSlots, lockRotation, turn } from './queries/inbox.ts'
import { parkedKeys, releasedKeys } from './queries/parked.ts'
import {
  advanceLanes,
  deleteLanes,
  forgetHolds,
  holdsSince,
  insertLanes,
  giveBackLanes,
  lanePosition,
  lockFirstPositions,
  lockLanes,
  makePositions,
  markMessage,
  unmarkMessage,
  mostHolds,
  positionsOfGroup,
  raiseEpochs,
  readLane,
} from './queries/position.ts'
import type { Statement, StatementResult } from './statement-run.ts'
import { endSuperseded } from './superseded-batches.ts'
import { channels } from '../../telemetry/channels.ts'
import { highestOf } from '../../inbox/high-water.ts'

export interface PostgresConsumerStoreOptions {
  readonly database: PostgresDatabase
  /** Where Tidemark's tables are. @default 'tidemark' */
  readonly schema?: string
  /**
   * The server ends a batch's transaction that holds its position's row and hears nothing for so long. Must be below the time after which a
   * silent member loses its partitions, or a frozen owner keeps its successor waiting. @default 5,000
   */
  readonly standstillMs?: number
}

/** Positions, inbox, parked keys and dead letters in the service's Postgres database. */
export class PostgresConsumerStore implements ConsumerStore {
  readonly #database: PostgresDatabase
  readonly #schema: string
  readonly #name: string
  readonly #standstillMs: number
  readonly #room = new ParkedRoom()
  readonly parked: PostgresParkedStore

  constructor({ database, schema = 'tidemark', standstillMs = 5_000 }: PostgresConsumerStoreOptions) {
    this.#database = database
    this.#schema = quotedSchema(schema)
    this.#name = schema
    this.#standstillMs = standstillMs
    this.parked = new PostgresParkedStore({ database, schema, standstillMs })
  }

  async positions(group: string): Promise<readonly PartitionPosition[]> {
    const [result] = await this.#run([positionsOfGroup(this.#schema, group)])
    return result!.rows.map((row) => ({
      topic: String(row['topic']),
      topicId: String(row['topic_id']),
      partition: Number(row['partition']),
      nextOffset: Number(row['next_offset']),
    }))
  }

  async makePositions(first: FirstPositions): Promise<void> {
    await this.#run([begin, lockFirstPositions(first.topic), makePositions(this.#schema, first), end])
  }

  async takeOver({ partition, lockTimeoutMs, inFlight = firstSize }: TakeOver): Promise<PartitionState> {
    crashPoint('consumer:before-take-over')
    // The set of parked keys is read in a statement of its own after the epoch was raised under the locks: the former owner may have parked
    // a key in the transaction whose end we waited for, and a snapshot from before would not show it.
    const statements = [
      begin,
      lockTimeout(lockTimeoutMs),
      lockLanes(this.#schema, partition),
      raiseEpochs(this.#schema, partition, inFlight),
      parkedKeys(this.#schema, partition),
      end,
    ]
    let results = await this.#unlessLocked(statements)
    while (results === 'locked') {
      // No connection is held meanwhile: it takes two, and several partitions may be at it.
      this.#toldOf(partition, await endBlockers(this.#database, lockLanes(this.#schema, partition)))
      results = await this.#unlessLocked(statements)
    }
    crashPoint('consumer:after-take-over')
    const before = positions(results[2]!)
    const lanes = positions(results[3]!).map((row, i) => ({ ...row, suspects: before[i]?.suspects ?? 0 }))
    this.#toldOf(partition, await endSuperseded(this.#database, this.#name, partition, lanes))
    return { lanes, parkedKeys: keys(results[4]!) }
  }

  /** Says that a former owner could not be ended, if so: whatever it holds locked stays so for as long as it stands still. */
  #toldOf({ group, topic, partition }: PartitionRef, failure: unknown): void {
    if (failure === null) return
    const error = `A transaction of the former owner of ${topic}/${partition} could not be ended, so what it locked stays locked until it ends by itself: ${
      failureOf(failure).reason
    }. Let all processes of the group use one role, or grant it pg_signal_backend.`
    channels.consumerTrouble.publish({ group, what: 'take-over', errorClass: failureOf(failure).errorClass, error })
  }

  async reload(lane: LaneRef): Promise<{ readonly position: LanePosition; readonly parkedKeys: readonly string[] } | null> {
    // The row first, then the set, each with a snapshot of its own: the other way round, a redrive between the two would leave us with the
    // new count of holds and a set that lacks its key.
    const [row, set] = await this.#run([readLane(this.#schema, lane), parkedKeys(this.#schema, lane)], 'read committed')
    const [position] = positions(row!)
    return position === undefined ? null : { position, parkedKeys: keys(set!) }
  }

  async catchUp(lane: LaneRef, known: LanePosition, waiting: readonly string[]): Promise<LaneNews | null> {
    const asked = waiting.map((key) => Buffer.from(key, 'base64'))
    const statements = [
      readLane(this.#schema, lane),
      holdsSince(this.#schema, lane, known),
      ...(asked.length === 0 ? [] : [releasedKeys(this.#schema, lane, asked)]),
    ]
    const [row, holds, released] = await this.#run(statements, 'read committed')
    const [position] = positions(row!)
    // Where this owner's own batch has moved the row, it may have parked keys as well.
    if (position === undefined || position.epoch !== known.epoch || position.nextOffset !== known.nextOffset) return null
    const raises = holds!.rows.filter(({ hold }) => Number(hold) <= position.holds)
    if (raises.length !== position.holds - known.holds || raises.length > mostHolds) return null
    const held = holds!.rows.flatMap((raise) => (raise['keys'] as readonly Buffer[]).map((key) => key.toString('base64')))
    return { position, held, released: released === undefined ? [] : keys(released) }
  }

  async advance(partition: PartitionRef, targets: readonly AdvanceTarget[]): Promise<readonly LanePosition[]> {
    crashPoint('consumer:before-advance')
    const [moved] = await this.#run([advanceLanes(this.#schema, partition, targets)])
    return positions(moved!)
  }

  async replaceLanes(
    partition: PartitionRef,
    from: readonly LanePosition[],
    count: number,
    at: LogPlace,
  ): Promise<PartitionState | 'fenced'> {
    return this.#database.use(async (session) => {
      try {
        const rows = positions((await session.run([begin, lockLanes(this.#schema, partition)]))[1]!)
        if (!sameLanes(rows, from)) {
          await rollBack(session)
          return 'fenced'
        }
        crashPoint('consumer:at-lane-barrier')
        const epoch = 1 + Math.max(...rows.map((row) => row.epoch))
        const highWater = highestOf(rows.map((row) => row.highWater))
        const results = await commit(session, [
          deleteLanes(this.#schema, partition),
          insertLanes(this.#schema, partition, count, { at, epoch, highWater }),
          parkedKeys(this.#schema, partition),
        ])
        crashPoint('consumer:after-lanes-replaced')
        return { lanes: positions(results[1]!), parkedKeys: keys(results[2]!) }
      } catch (error) {
        await rollBack(session)
        throw connectionError(error, session)
      }
    })
  }

  async begin(lane: LaneRef): Promise<BatchTransaction> {
    return new PostgresBatch(await this.#database.lease(), { schema: this.#name, lane, standstillMs: this.#standstillMs, room: this.#room })
  }

  async mark(
    lane: LaneRef,
    position: LanePosition,
    offset: number,
  ): Promise<{ readonly marks: number; readonly at: string | null } | null> {
    const [marked] = await this.#run([markMessage(this.#schema, lane, position, offset)])
    const row = marked!.rows[0]
    crashPoint('consumer:after-mark')
    return row === undefined ? null : { marks: Number(row['marks']), at: String(row['at']) }
  }

  async unmark(lane: LaneRef, position: LanePosition, offset: number): Promise<void> {
    await this.#run([unmarkMessage(this.#schema, lane, position, offset)])
  }

  async giveBack(partition: PartitionRef, lanes: readonly { readonly lane: number; readonly epoch: number }[]): Promise<void> {
    await this.#run([giveBackLanes(this.#schema, partition, lanes)])
  }

  async forgetHandled(retentionMs: number): Promise<void> {
    await this.#run([forgetHolds(this.#schema)])
    await this.#database.use(async (session) => {
      try {
        // One table less than there are is full; the oldest is emptied when its youngest entry is out of the horizon.
        const [, , locked] = await session.run([
          begin,
          lockTimeout(1_000),
          lockRotation(this.#schema, Math.ceil(retentionMs / (inboxSlots - 1))),
        ])
        const next = locked!.rows[0]?.['next']
        await session.run(next === undefined ? [end] : [emptySlot(this.#schema, Number(next)), turn(this.#schema, Number(next)), end])
      } catch (error) {
        await rollBack(session)
        // Somebody is looking into that table; the next call will find it free.
        if (!isLockTimeout(error)) throw connectionError(error, session)
      }
    })
  }

  async #unlessLocked(transaction: readonly Statement[]): Promise<StatementResult[] | 'locked'> {
    return this.#database.use(async (session) => {
      try {
        return await session.run(transaction)
      } catch (error) {
        await rollBack(session)
        if (session.broken !== null || !isLockTimeout(error)) throw connectionError(error, session)
        return 'locked'
      }
    })
  }

  /** One round trip: a transaction by itself unless the statements say otherwise. `isolation` guards statements that must not share a snapshot. */
  #run(statements: readonly Statement[], isolation?: 'read committed'): Promise<StatementResult[]> {
    return this.#database.use(async (session) => {
      try {
        if (isolation === undefined) return await session.run(statements)
        return (await session.run([{ text: `begin isolation level ${isolation}` }, ...statements, end])).slice(1)
      } catch (error) {
        await rollBack(session)
        throw connectionError(error, session)
      }
    })
  }
}

// Said each time, because a role or database may have another default, and then every statement would share the first one's snapshot.
const begin: Statement = { text: 'begin isolation level read committed' }
const end: Statement = { text: 'commit' }

function lockTimeout(ms: number): Statement {
  return { text: `select set_config('lock_timeout', $1, true)`, params: [String(Math.max(1, Math.ceil(ms)))] }
}

function positions(result: StatementResult): LanePosition[] {
  return result.rows.map(lanePosition).sort((a, b) => a.lane - b.lane)
}

function keys(result: StatementResult): string[] {
  return result.rows.map((row: Row) => (row['key'] as Buffer).toString('base64'))
}

function sameLanes(rows: readonly LanePosition[], from: readonly LanePosition[]): boolean {
  if (rows.length !== from.length) return false
  return rows.every((row, i) => row.lane === from[i]!.lane && row.epoch === from[i]!.epoch && row.nextOffset === from[i]!.nextOffset)
}

function isLockTimeout(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === '55P03'
}
