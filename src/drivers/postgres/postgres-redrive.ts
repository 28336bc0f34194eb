import { laneOf } from '../../consumer/partition/lane-of.ts'
import type { LetterState } from '../../dead-letter/letter.ts'
import { parkedKeyOf } from '../../consumer/parked/parked-key.ts'
import type { RedriveLetter, RedriveOutcome } from '../../dead-letter/port.ts'
import { type LockedLetter, redriveOutcomes } from '../../dead-letter/redrive-refusal.ts'
import { TidemarkError } from '../../errors.ts'
import { crashPoint, crashPointsArmed } from '../../internal/crash-point.ts'
import type { Row } from '../../message/transaction.ts'
import { type PostgresDatabase, commit } from './database.ts'
import { noteEvents } from './queries/dead-letter-change.ts'
import {
  type LetterKey,
  findLetters,
  holdLane,
  lockLetters,
  lockOrMakeKey,
  markRedriven,
  queuedOffsets,
  requeueLetters,
  settleKey,
} from './queries/dead-letter-redrive.ts'
import { letterTransaction } from './letter-transaction.ts'
import type { Session } from './session.ts'
import type { Statement } from './statement-run.ts'

export interface Redrive {
  readonly letters: readonly RedriveLetter[]
  readonly actor: string
  readonly reason: string | null
  /** Done to the letters under their locks, before they go. `valueBytes`: of a value that it puts in the place of the old one. */
  readonly before?: (ids: readonly number[]) => { readonly statements: readonly Statement[]; readonly valueBytes: number | null }
}

/** Changes of the lane count that come between the look and the lock, again and again: somebody is playing. */
const maxLooks = 20

/** One redrive in Postgres; see `LetterChanges.redrive`. `schema` is the quoted name. */
export async function redriveLetters(database: PostgresDatabase, schema: string, redrive: Redrive): Promise<readonly RedriveOutcome[]> {
  if (redrive.letters.length === 0) return []
  for (let looks = 0; looks < maxLooks; looks++) {
    const outcome = await redriveOnce(database, schema, redrive)
    if (outcome !== 'lanes-changed') return outcome
  }
  throw new TidemarkError('TRANSACTION_ABORTED', 'The number of lanes of the partition kept changing.')
}

async function redriveOnce(
  database: PostgresDatabase,
  schema: string,
  redrive: Redrive,
): Promise<readonly RedriveOutcome[] | 'lanes-changed'> {
  const ids = redrive.letters.map(({ id }) => id)
  const [found] = await database.use((session) => session.run([findLetters(schema, ids)]))
  const [first] = found!.rows
  if (first === undefined) return redrive.letters.map(({ id }) => ({ id, outcome: 'refused', reason: 'unknown' }))
  const key = keyOfLetters(found!.rows)
  if (first['lanes'] === null) return redrive.letters.map(({ id }) => ({ id, outcome: 'refused', reason: 'no-position' }))
  const lanes = Number(first['lanes'])
  const lane = laneOf(first['key'] as Buffer | null, Number(first['log_offset']), lanes)
  const offsets = found!.rows.map((row) => Number(row['log_offset']))
  const outcome = await letterTransaction<readonly RedriveOutcome[] | 'lanes-changed'>(database, async (session) => {
    const under = await locked(session, [
      holdLane(schema, key, lane, lanes),
      lockOrMakeKey(schema, key),
      lockLetters(schema, ids),
      queuedOffsets(schema, key, offsets),
    ])
    if (under.nextOffset === null) return { end: 'undo', result: 'lanes-changed' }
    return carryOut(session, schema, key, redrive, under)
  })
  if (outcome !== 'lanes-changed') crashPoint('redrive:after-commit')
  return outcome
}

interface UnderLocks {
  /** `null`: the lane is not there. */
  readonly nextOffset: number | null
  readonly letters: ReadonlyMap<number, LockedLetter & { readonly valueBytes: number }>
  /** Bytes of those that wait already, by offset. */
  readonly queued: ReadonlyMap<number, number>
}

async function locked(session: Session, statements: readonly [Statement, Statement, Statement, Statement]): Promise<UnderLocks> {
  const [held, , letters, queued] = crashPointsArmed ? await stepByStep(session, statements) : await session.run(statements)
  const position = held!.rows[0]
  return {
    nextOffset: position === undefined ? null : Number(position['next_offset']),
    letters: new Map(letters!.rows.map((row) => [Number(row['id']), lockedLetter(row)])),
    queued: new Map(queued!.rows.map((row) => [Number(row['log_offset']), Number(row['bytes'])])),
  }
}

/** For tests that stop the process between the steps. */
async function stepByStep(session: Session, statements: readonly Statement[]): Promise<{ readonly rows: Row[] }[]> {
  const [held] = await session.run(statements.slice(0, 1))
  crashPoint('redrive:after-holds')
  const [made] = await session.run(statements.slice(1, 2))
  crashPoint('redrive:after-key')
  return [held!, made!, ...(await session.run(statements.slice(2)))]
}

async function carryOut(
  session: Session,
  schema: string,
  key: LetterKey,
  { letters, actor, reason, before }: Redrive,
  { nextOffset, letters: found, queued }: UnderLocks,
): Promise<{ readonly end: 'undo' | 'committed'; readonly result: readonly RedriveOutcome[] }> {
  const changes = before === undefined ? 1 : 2
  const outcomes = redriveOutcomes(letters, (id) => found.get(id), { nextOffset: nextOffset!, changes })
  const ids = outcomes.flatMap(({ id, outcome }) => (outcome === 'redriven' ? [id] : []))
  // Nothing to do, so nothing is left of the locks: no raised count of holds, no key without messages.
  if (ids.length === 0) return { end: 'undo', result: outcomes }
  const prepared = before?.(ids) ?? { statements: [], valueBytes: null }
  const going = ids.map((id) => found.get(id)!)
  const bytes = going.reduce((sum, { offset, valueBytes }) => {
    return sum + key.key.length + (prepared.valueBytes ?? valueBytes) - (queued.get(offset) ?? 0)
  }, 0)
  const put = going.map(({ offset }) => offset)
  const messages = put.filter((offset) => !queued.has(offset)).length
  await commit(session, [
    ...prepared.statements,
    requeueLetters(schema, key, ids),
    settleKey(schema, key, { messages, bytes, put }),
    markRedriven(schema, ids),
    noteEvents(schema, ids, actor, 'redriven', reason),
  ])
  return { end: 'committed', result: outcomes }
}

/** The one key they all have. Rows of `findLetters`. */
export function keyOfLetters(rows: readonly Row[]): LetterKey {
  const keys = rows.map(letterKey)
  const key = keys[0]!
  const isOther = ({ group, topicId, partition, key: bytes }: LetterKey): boolean =>
    group !== key.group || topicId !== key.topicId || partition !== key.partition || !bytes.equals(key.key)
  if (keys.some(isOther)) {
    throw new TidemarkError('INPUT_INVALID', 'Letters of different keys cannot be redriven in one call.', {
      remedy: 'Call redrive once for each key; a letter without a key is one of its own.',
    })
  }
  return key
}

function letterKey(row: Row): LetterKey {
  const place = { group: String(row['group_name']), topicId: String(row['topic_id']), partition: Number(row['partition']) }
  const key = row['key'] as Buffer | null
  const topic = String(row['topic'])
  return { ...place, topic, ...parkedKeyOf({ key, offset: Number(row['log_offset']) }) }
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
