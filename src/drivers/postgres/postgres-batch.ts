import type { BatchEnd, BatchTransaction, CommitOutcome, LanePosition, LaneRef, Parking } from '../../consumer/port.ts'
import type { Row } from '../../message/transaction.ts'
import { parkedBytes } from '../../consumer/parked/parked-key.ts'
import { PostgresHandlerTransaction } from './handler-transaction.ts'
import { ParkedRoom } from './parked-room.ts'
import { quotedSchema } from './migrations/schema-name.ts'
import { bury } from './queries/dead-letter.ts'
import { rememberHandled } from './queries/inbox.ts'
import { lockLane } from './queries/lane-lock.ts'
import { appendStatements } from './queries/outbox.ts'
import { type NewKey, appendParked, insertHeads, lockKeys, parkKeys, requireRoom, requireRoomOfKeys } from './queries/parked.ts'
import { compareAndSet } from './queries/position.ts'
import type { Session } from './session.ts'
import type { Statement } from './statement-run.ts'

interface BatchSettings {
  readonly schema: string
  readonly lane: LaneRef
  readonly standstillMs: number
  /** @default one that looks each time */
  readonly room?: ParkedRoom
}

/** A lane batch's transaction. */
export class PostgresBatch extends PostgresHandlerTransaction implements BatchTransaction {
  readonly #settings: BatchSettings

  constructor(session: Session, settings: BatchSettings) {
    const { schema, lane, standstillMs } = settings
    super(session, { schema, group: lane.group, standstillMs, first: lockLane(schema, lane) })
    this.#settings = settings
  }

  async commit(batch: BatchEnd): Promise<CommitOutcome> {
    const { schema, lane, room = new ParkedRoom() } = this.#settings
    const quoted = quotedSchema(schema)
    const waits = waitingBytes(batch)
    const before = [...parking(quoted, lane, batch), ...queueing(quoted, lane, batch)]
    const isSummed = waits > 0 && !room.isAmple(lane, batch.bounds, waits)
    const result = await this.end({
      publish: appendStatements(schema, batch.publish),
      fence: compareAndSet(quoted, lane, batch),
      after: [
        ...before,
        ...(isSummed ? [requireRoom(quoted, lane, batch.bounds)] : []),
        ...(batch.queue.length > 0 ? [requireRoomOfKeys(quoted, lane, keysOf(batch.queue), batch.bounds)] : []),
        ...batch.deadLetters.map((letter) => bury(quoted, lane, letter)),
        ...remembering(quoted, lane, batch),
      ],
      crashPoints: ['consumer:after-handlers', 'consumer:after-compare-and-set', 'consumer:after-appends', 'consumer:after-commit'],
    })
    if (result.outcome !== 'committed') return result
    if (waits > 0) room.added(lane, waits, isSummed ? Number(result.after[before.length]?.[0]?.['waiting'] ?? 0) : null)
    const fence = result.fence[0]
    const held = ((fence?.['held'] as readonly Buffer[] | null | undefined) ?? []).map((key) => key.toString('base64'))
    return { outcome: 'committed', position: moved(batch, fence), held }
  }
}

/** Keys of what has failed, and their heads. Before the queue, whose messages may wait behind them. */
function parking(schema: string, lane: LaneRef, { park, deadLetters }: BatchEnd): Statement[] {
  const blocking = deadLetters.filter(({ policy }) => policy === 'block')
  const keys: NewKey[] = [...park.map(newKey), ...blocking.map(({ record, reason }) => ({ record, reason, attempts: [], afterMs: null }))]
  if (keys.length === 0) return []
  const statements = [parkKeys(schema, lane, keys)]
  if (park.length > 0) statements.push(insertHeads(schema, lane, park.map(recordOf), false))
  if (blocking.length > 0) statements.push(insertHeads(schema, lane, blocking.map(recordOf), true))
  return statements
}

const newKey = ({ record, reason, attempts, afterMs }: Parking): NewKey => ({ record, reason, attempts, afterMs })
const recordOf = <Record>({ record }: { readonly record: Record }): Record => record

/** The locks in a statement before the insert, so that a release we waited for is seen. */
function queueing(schema: string, lane: LaneRef, { queue }: BatchEnd): Statement[] {
  if (queue.length === 0) return []
  return [lockKeys(schema, lane, keysOf(queue)), appendParked(schema, lane, queue)]
}

function keysOf(queue: BatchEnd['queue']): Buffer[] {
  return [...new Map(queue.map(({ key }) => [key!.toString('latin1'), key!])).values()]
}

/** Of what waits from now on. */
function waitingBytes({ queue, park, deadLetters }: BatchEnd): number {
  const records = [...queue, ...park.map(recordOf), ...deadLetters.filter(({ policy }) => policy === 'block').map(recordOf)]
  return records.reduce((sum, record) => sum + parkedBytes(record), 0)
}

function remembering(schema: string, lane: LaneRef, { handled }: BatchEnd): Statement[] {
  return handled.length === 0 ? [] : [rememberHandled(schema, lane.group, [...handled].sort())]
}

function moved({ position, nextOffset, leaderEpoch, highWater }: BatchEnd, fence: Row | undefined): LanePosition {
  const at = (fence?.['at'] as string | null | undefined) ?? null
  return { ...position, nextOffset, leaderEpoch, highWater, at, holds: Number(fence?.['holds'] ?? position.holds) }
}
