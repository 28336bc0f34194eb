import { laneOf } from '../../consumer/partition/lane-of.ts'
import type { LetterState } from '../../dead-letter/letter.ts'
import { parkedKeyOf } from '../../consumer/parked/parked-key.ts'
import type { RedriveLetter, RedriveOutcome } from '../../dead-letter/port.ts'
import { type LockedLetter, redriveOutcomes, severalPartitions } from '../../dead-letter/redrive-refusal.ts'
import type { AuditEntry } from '../../operation/audit.ts'
import { crashPoint, crashPointsArmed } from '../../internal/crash-point.ts'
import type { Row } from '../../message/transaction.ts'
import { type PostgresDatabase, commit } from './database.ts'
import { insertAudit } from './queries/audit.ts'
import { noteEvents } from './queries/dead-letter-change.ts'
import {
  type LaneHold,
  type PlacedLetter,
  type QueueChange,
  findLetters,
  holdLanes,
  lockLetters,
  lockPresentKeys,
  makeKeys,
  markRedriven,
  noteHolds,
  queuedOffsets,
  requeueLetters,
  settleKeys,
} from './queries/dead-letter-redrive.ts'
import { letterTransaction } from './letter-transaction.ts'
import type { Session } from './session.ts'
import type { Statement } from './statement-run.ts'
import { whileLanesChange } from './while-lanes-change.ts'

export interface Redrive {
  readonly letters: readonly RedriveLetter[]
  readonly actor: string
  readonly reason: string | null
  /** Stored with it. */
  readonly audit: readonly AuditEntry[]
  /** Done to the letters under their locks, before they go. `valueBytes`: of a value that it puts in the place of the old one. */
  readonly before?: (ids: readonly number[]) => { readonly statements: readonly Statement[]; readonly valueBytes: number | null }
}

/** One redrive in Postgres; see `LetterChanges.redrive`. `schema` is the quoted name. */
export async function redriveLetters(database: PostgresDatabase, schema: string, redrive: Redrive): Promise<readonly RedriveOutcome[]> {
  if (redrive.letters.length === 0) return []
  return whileLanesChange(() => redriveOnce(database, schema, redrive))
}

async function redriveOnce(database: PostgresDatabase, schema: string, redrive: Redrive): Promise<readonly RedriveOutcome[] | 'again'> {
  const ids = redrive.letters.map(({ id }) => id)
  const [found] = await database.use((session) => session.run([findLetters(schema, ids)]))
  const [first] = found!.rows
  if (first === undefined) return redrive.letters.map(({ id }) => ({ id, outcome: 'refused', reason: 'unknown' }))
  const letters = ofOnePartition(found!.rows)
  if (first['lanes'] === null) return redrive.letters.map(({ id }) => ({ id, outcome: 'refused', reason: 'no-position' }))
  const lanes = Number(first['lanes'])
  const asked = { letters, lanes, laneOf: ({ key, keyless, offset }: PlacedLetter) => laneOf(keyless ? null : key, offset, lanes) }
  const outcome = await letterTransaction<readonly RedriveOutcome[] | 'again'>(database, async (session) => {
    const under = await locked(session, schema, asked)
    return under === null ? { end: 'undo', result: 'again' } : carryOut(session, schema, redrive, asked, under)
  })
  if (outcome !== 'again') crashPoint('redrive:after-commit')
  return outcome
}

/** Where the letters stand, as far as it is known before any lock. */
interface Asked {
  readonly letters: readonly PlacedLetter[]
  readonly lanes: number
  laneOf(letter: PlacedLetter): number
}

interface UnderLocks {
  /** The lanes' rows, by lane. */
  readonly positions: ReadonlyMap<number, Omit<LaneHold, 'keys'> & { readonly nextOffset: number }>
  readonly letters: ReadonlyMap<number, LockedLetter & { readonly valueBytes: number }>
  /** Bytes of those that wait already, by offset. */
  readonly queued: ReadonlyMap<number, number>
}

/** `null`: a lane is not there any more. */
async function locked(session: Session, schema: string, { letters: all, lanes, laneOf: laneOfLetter }: Asked): Promise<UnderLocks | null> {
  const partition = all[0]!
  const concerned = [...new Set(all.map(laneOfLetter))]
  const [held, , letters, queued] = await inOrder(session, [
    holdLanes(schema, partition, concerned, lanes),
    lockPresentKeys(schema, partition, keysOf(all)),
    lockLetters(
      schema,
      all.map(({ id }) => id),
    ),
    queuedOffsets(schema, all),
  ])
  if (held!.rows.length < concerned.length) return null
  return {
    positions: new Map(held!.rows.map((row) => [Number(row['lane']), lockedLane(row)])),
    letters: new Map(letters!.rows.map((row) => [Number(row['id']), lockedLetter(row)])),
    queued: new Map(queued!.rows.map((row) => [Number(row['log_offset']), Number(row['bytes'])])),
  }
}

/** In one round trip, but for tests that stop the process between the steps. */
async function inOrder(session: Session, statements: readonly Statement[]): Promise<{ readonly rows: Row[] }[]> {
  if (!crashPointsArmed) return session.run(statements)
  const [held] = await session.run(statements.slice(0, 1))
  crashPoint('redrive:after-holds')
  const [keys] = await session.run(statements.slice(1, 2))
  crashPoint('redrive:after-key')
  return [held!, keys!, ...(await session.run(statements.slice(2)))]
}

async function carryOut(
  session: Session,
  schema: string,
  { letters: asked, actor, reason, audit, before }: Redrive,
  { letters: all, laneOf: laneOfLetter }: Asked,
  { positions, letters: found, queued }: UnderLocks,
): Promise<{ readonly end: 'undo' | 'committed'; readonly result: readonly RedriveOutcome[] }> {
  const placed = new Map(all.map((letter) => [letter.id, letter]))
  const nextOffset = (id: number): number => positions.get(laneOfLetter(placed.get(id)!))!.nextOffset
  const outcomes = redriveOutcomes(asked, (id) => found.get(id), { nextOffset, changes: before === undefined ? 1 : 2 })
  const ids = outcomes.flatMap(({ id, outcome }) => (outcome === 'redriven' ? [id] : []))
  // Nothing to do, so nothing is left of the locks: no raised count of holds, no key without messages.
  if (ids.length === 0) return { end: 'undo', result: outcomes }
  const prepared = before?.(ids) ?? { statements: [], valueBytes: null }
  const going = ids.map((id) => placed.get(id)!)
  const added = ({ id, offset, key }: PlacedLetter): QueueChange => ({
    key,
    messages: queued.has(offset) ? 0 : 1,
    bytes: key.length + (prepared.valueBytes ?? found.get(id)!.valueBytes) - (queued.get(offset) ?? 0),
  })
  const partition = going[0]!
  const holds = [...positions.values()].map((hold) => ({
    ...hold,
    keys: keysOf(going.filter((letter) => laneOfLetter(letter) === hold.lane)),
  }))
  await commit(session, [
    ...prepared.statements,
    ...noteHolds(schema, partition, holds),
    makeKeys(schema, partition, keysOf(going)),
    requeueLetters(schema, going),
    settleKeys(schema, partition, sumsByKey(going.map(added)), { put: going.map(({ offset }) => offset) }),
    markRedriven(schema, ids),
    noteEvents(schema, ids, actor, 'redriven', reason),
    ...audit.map((line) => insertAudit(schema, line)),
  ])
  return { end: 'committed', result: outcomes }
}

function sumsByKey(changes: readonly QueueChange[]): readonly QueueChange[] {
  const sums = new Map<string, QueueChange>()
  for (const { key, messages, bytes } of changes) {
    const name = key.toString('latin1')
    const sum = sums.get(name)
    sums.set(name, { key, messages: messages + (sum?.messages ?? 0), bytes: bytes + (sum?.bytes ?? 0) })
  }
  return [...sums.values()]
}

/** Each once. */
function keysOf(letters: readonly PlacedLetter[]): readonly Buffer[] {
  return [...new Map(letters.map(({ key }) => [key.toString('latin1'), key])).values()]
}

/** Rows of `findLetters`. */
function ofOnePartition(rows: readonly Row[]): readonly PlacedLetter[] {
  const letters = rows.map(placedLetter)
  const [first] = letters
  const isOther = ({ group, topicId, partition }: PlacedLetter): boolean =>
    group !== first!.group || topicId !== first!.topicId || partition !== first!.partition
  if (letters.some(isOther)) throw severalPartitions()
  return letters
}

/** A row of `findLetters`. */
export function placedLetter(row: Row): PlacedLetter {
  const offset = Number(row['log_offset'])
  return {
    id: Number(row['id']),
    group: String(row['group_name']),
    topic: String(row['topic']),
    topicId: String(row['topic_id']),
    partition: Number(row['partition']),
    offset,
    ...parkedKeyOf({ key: row['key'] as Buffer | null, offset }),
  }
}

function lockedLane(row: Row): Omit<LaneHold, 'keys'> & { readonly nextOffset: number } {
  return { lane: Number(row['lane']), nextOffset: Number(row['next_offset']), epoch: Number(row['epoch']), holds: Number(row['holds']) }
}

function lockedLetter(row: Row): LockedLetter & { readonly valueBytes: number } {
  return {
    version: Number(row['version']),
    state: row['state'] as LetterState,
    archived: row['archived_at'] !== null,
    offset: Number(row['log_offset']),
    valueBytes: Number(row['bytes'] ?? 0),
  }
}
