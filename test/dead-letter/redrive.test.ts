import { describe, expect, test } from 'vitest'
import { laneOf } from '../../src/consumer/partition/lane-of.ts'
import type { CommitOutcome } from '../../src/consumer/port.ts'
import type { LetterChange, RedriveOutcome } from '../../src/dead-letter/index.ts'
import { crashPoints } from '../../src/internal/crash-points.ts'
import { startProgram } from '../support/child-program.ts'
import { until } from '../support/until.ts'
import { OwnedPartition, deadLetter, letterDatabase, noFailures } from './support/buried.ts'

const { url, database, consumer, store, rows, partition } = await letterDatabase('redrive')
const actor = 'operator'

async function idAt(group: string, offset: number): Promise<number> {
  const [row] = await rows<{ id: string }>('select id from tidemark.dead_letter where group_name = $1 and log_offset = $2', [group, offset])
  return Number(row!.id)
}

async function waits(statement: string): Promise<boolean> {
  const waiting = await rows(
    `select from pg_stat_activity where wait_event_type = 'Lock' and query like $1 and datname = current_database()`,
    [statement],
  )
  return waiting.length === 1
}

const waitsForPosition = (): Promise<boolean> => waits('%holds = holds + 1%')

interface KeyRow extends Record<string, unknown> {
  readonly key: string
  readonly messages: number
  readonly bytes: number
  readonly blocked: boolean
  readonly due: boolean
  readonly attempts: number
}

function keyRows(group: string): Promise<KeyRow[]> {
  return rows<KeyRow>(
    `select convert_from(key, 'UTF8') as key, messages::int, bytes::int, next_attempt_at = 'infinity' as blocked, next_attempt_at <= now() as due, attempts
from tidemark.parked_key where group_name = $1 order by key`,
    [group],
  )
}

/** What of a group is not as the tables promise. */
async function broken(group: string): Promise<unknown[]> {
  return rows(
    `select k.group_name, encode(k.key, 'escape') as key, k.messages, q.messages as there, k.bytes, q.bytes as in_queue, k.next_attempt_at, q.dead
from tidemark.parked_key k full join (
  select group_name, topic_id, partition, key_hash, count(*) as messages, sum(octet_length(key) + coalesce(octet_length(value), 0)) as bytes,
    (array_agg(dead order by log_offset))[1] as dead
  from tidemark.parked_msg group by 1, 2, 3, 4) q using (group_name, topic_id, partition, key_hash)
where group_name = $1 and (k.messages is distinct from q.messages or k.bytes is distinct from q.bytes or (k.next_attempt_at = 'infinity') is distinct from q.dead)
union all
select d.group_name, 'letter ' || d.id, null, null, null, null, null, null from tidemark.dead_letter d
where d.group_name = $1 and ((d.state = 'redriven') <> exists (select from tidemark.parked_msg m where m.letter_id = d.id and not m.dead)
  or (d.state = 'dead' and d.policy = 'block') <> exists (select from tidemark.parked_msg m where m.group_name = d.group_name and m.log_offset = d.log_offset and m.dead))`,
    [group],
  )
}

/** Gives the keys' rows the counts that a consumer keeps: here letters are written without one. */
function count(group: string): Promise<unknown> {
  return rows(
    `update tidemark.parked_key k set messages = q.messages, bytes = q.bytes, next_attempt_at = case when q.dead then 'infinity' else k.next_attempt_at end from (
  select group_name, topic_id, partition, key_hash, count(*) as messages, sum(octet_length(key) + coalesce(octet_length(value), 0)) as bytes,
    (array_agg(dead order by log_offset))[1] as dead
  from tidemark.parked_msg where group_name = $1 group by 1, 2, 3, 4) q
where k.group_name = q.group_name and k.topic_id = q.topic_id and k.partition = q.partition and k.key_hash = q.key_hash`,
    [group],
  )
}

test('an operator that freezes in the middle of a redrive does not keep the lane waiting: the server ends its transaction', async () => {
  const owned = await partition()
  const id = await idAt(owned.ref.group, await owned.bury('k', 'skip'))
  const frozen = startProgram(new URL('support/redrive-process.ts', import.meta.url), [url, String(id)], {
    env: { TIDEMARK_FREEZE_POINT: 'redrive:after-holds' },
  })
  await until('it stands still', () => frozen.isFrozen())
  // Waits for the lane's position, which nothing but the server can free.
  await owned.bury('other', 'skip')
  frozen.signal('SIGCONT')
  expect((await frozen.ended).code).not.toBe(0)
  expect((await store.get(id))?.state).toBe('dead')
  expect(await broken(owned.ref.group)).toEqual([])
}, 30_000)

test('the row of a key tells after each step how many messages wait, their bytes, and when it is due', async () => {
  const owned = await partition()
  const { group } = owned.ref
  const [first, skipped] = [await owned.bury('k'), await owned.bury('other', 'skip')]
  await owned.queue('k')
  await count(group)
  expect(await keyRows(group)).toEqual([{ key: 'k', messages: 2, bytes: 2 * (1 + 7), blocked: true, due: false, attempts: 0 }])
  await rows(`update tidemark.parked_key set attempts = 3, failures = '[{}]' where group_name = $1`, [group])
  const id = await idAt(group, first)
  await store.edit(id, { value: Buffer.from('{"n":12345}') }, { actor })
  await store.redrive([{ id }], { actor })
  await store.redrive([{ id: await idAt(group, skipped) }], { actor })
  expect(await keyRows(group)).toEqual([
    { key: 'k', messages: 2, bytes: 2 + 7 + 11, blocked: false, due: true, attempts: 0 },
    { key: 'other', messages: 1, bytes: 5 + 7, blocked: false, due: true, attempts: 0 },
  ])
  expect(await broken(group)).toEqual([])
})

test('a letter put behind the head of its key leaves what is known of the head as it is', async () => {
  const owned = await partition()
  const { group } = owned.ref
  const head = await owned.bury('k')
  await owned.reload()
  // Dead behind a head that blocks, as after a redrive of an older one.
  const later = owned.record('k')
  await owned.commit(0, { deadLetters: [deadLetter(later, 'skip')] })
  await count(group)
  await rows('update tidemark.parked_key set attempts = 2 where group_name = $1', [group])
  await store.redrive([{ id: await idAt(group, later.offset) }], { actor })
  expect(await keyRows(group)).toMatchObject([{ messages: 2, blocked: true, attempts: 2 }])
  await store.change(await idAt(group, head), { kind: 'discard' }, { actor })
  expect(await keyRows(group)).toMatchObject([{ messages: 1, blocked: false, due: true, attempts: 0 }])
  expect(await broken(group)).toEqual([])
})

test('a discarded letter whose message came again from the log, and waits, leaves the counts of its key as they are', async () => {
  const owned = await partition()
  const { group } = owned.ref
  const again = owned.record('k')
  await owned.commit(0, { deadLetters: [deadLetter(again, 'skip')] })
  await owned.bury('k')
  await owned.commit(0, { queue: [again] })
  await count(group)
  const before = await keyRows(group)
  expect(before).toMatchObject([{ messages: 2 }])
  await store.change(await idAt(group, again.offset), { kind: 'discard' }, { actor })
  expect(await keyRows(group)).toEqual(before)
})

test('a batch under way with a later message of the key does not commit beside the redriven one', async () => {
  const owned = await partition()
  const { group } = owned.ref
  const id = await idAt(group, await owned.bury('k', 'skip'))
  const batch = await consumer.begin({ ...owned.ref, lane: 0 })
  await batch.tx.query('select 1')
  await store.redrive([{ id }], { actor })
  const position = owned.lane(0)
  const end = {
    position,
    nextOffset: 9,
    leaderEpoch: null,
    highWater: {},
    handled: [],
    queue: [],
    publish: [],
    ...noFailures,
    ran: [Buffer.from('k')],
  }
  expect((await batch.commit(end)).outcome).toBe('moved')
  await batch.rollBack()
  expect(await owned.reload()).toEqual(['k'])
  await owned.queue('k')
  await store.change(id, { kind: 'comment', text: 'done' }, { actor })
})

describe('a batch that waits for the position while keys are held', () => {
  /** Ends a batch of this key while a redrive of another one, or the same, has the position; then the redrive commits. */
  async function outcomeFor(ran: string, held: string): Promise<CommitOutcome> {
    const owned = await partition()
    const id = await idAt(owned.ref.group, await owned.bury(held, 'skip'))
    const position = owned.lane(0)
    const batch = await consumer.begin({ ...owned.ref, lane: 0 })
    const session = await database.lease()
    await session.query('begin')
    // Whoever redrives waits for this letter, with the position locked.
    await session.query('select from tidemark.dead_letter where id = $1 for update', [id])
    const redrive = store.redrive([{ id }], { actor })
    await until('the redrive has the position', () => waits('%dead_letter%for update%'))
    const end = { position, nextOffset: 9, leaderEpoch: null, highWater: {}, handled: [], queue: [], publish: [], ...noFailures }
    const outcome = batch.commit({ ...end, ran: [Buffer.from(ran)] })
    await until('the batch waits for the position', () => waits('%consumer_held_since%'))
    await session.query('commit')
    session.release()
    expect(await redrive).toMatchObject([{ outcome: 'redriven' }])
    const result = await outcome
    await batch.rollBack()
    return result
  }

  test('sees the key that it ran, and does not commit', async () => {
    expect((await outcomeFor('k', 'k')).outcome).toBe('moved')
  })

  test('commits beside another one, and knows of it', async () => {
    const held = Buffer.from('another').toString('base64')
    expect(await outcomeFor('k', 'another')).toMatchObject({ outcome: 'committed', held: [held], position: { holds: 1, nextOffset: 9 } })
  })
})

test('a hold that nobody has noted, as by an earlier release, is one of any key', async () => {
  const owned = await partition()
  await rows('update tidemark.consumer_position set holds = holds + 1 where group_name = $1', [owned.ref.group])
  await expect(owned.commit(0, { ran: [Buffer.from('k')] })).rejects.toThrow('moved')
  expect(await consumer.catchUp({ ...owned.ref, lane: 0 }, owned.lane(0), [])).toBeNull()
  expect(await owned.reload()).toEqual([])
  await owned.commit(0, { ran: [Buffer.from('k')] })
})

test('a group whose positions were deleted and made again counts its holds anew, whatever was noted of the old ones', async () => {
  const former = await partition()
  const { group, topic, topicId } = former.ref
  await former.bury('old', 'skip')
  const redriveDead = async (): Promise<readonly string[]> => {
    const dead = await rows<{ id: string; version: number }>(
      `select id, version from tidemark.dead_letter where group_name = $1 and state = 'dead'`,
      [group],
    )
    const outcomes = await store.redrive(
      dead.map(({ id, version }) => ({ id: Number(id), version })),
      { actor },
    )
    return outcomes.map(({ outcome }) => outcome)
  }
  expect(await redriveDead()).toEqual(['redriven'])
  for (const table of ['consumer_position', 'parked_msg', 'parked_key', 'dead_letter'])
    await rows(`delete from tidemark.${table} where group_name = $1`, [group])
  await consumer.makePositions({ topic: { group, topic, topicId }, lanes: 1, first: [0], later: [0] })
  const { lanes } = await consumer.takeOver({ partition: former.ref, lockTimeoutMs: 1_000 })
  const owned = new OwnedPartition(consumer, former.ref, lanes)
  await owned.bury('new', 'skip')
  expect(await redriveDead()).toEqual(['redriven'])
  const news = await consumer.catchUp({ ...owned.ref, lane: 0 }, owned.lane(0), [])
  expect(news!.held.map((key) => Buffer.from(key, 'base64').toString())).toEqual(['new'])
})

test('letters of many keys and lanes go in one transaction, each lane told of its own', async () => {
  const owned = await partition(4)
  const { group } = owned.ref
  const keys = Array.from({ length: 40 }, (_, n) => `key ${n}`)
  const places = keys.map((key) => laneOf(Buffer.from(key), 0, 4))
  for (const [n, key] of keys.entries()) await owned.bury(key, 'skip', places[n])
  for (const lane of [0, 1, 2, 3]) await owned.reload(lane)
  const before = [0, 1, 2, 3].map((lane) => owned.lane(lane))
  const letters = await rows<{ id: string }>('select id from tidemark.dead_letter where group_name = $1', [group])
  const outcomes = await store.redrive(
    letters.map(({ id }) => ({ id: Number(id) })),
    { actor },
  )
  expect(outcomes.every(({ outcome }) => outcome === 'redriven')).toBe(true)
  expect(await broken(group)).toEqual([])
  for (const [lane, known] of before.entries()) {
    const news = await consumer.catchUp({ ...owned.ref, lane }, known, [])
    expect(news!.position.holds).toBe(1)
    const ofLane = keys.filter((_, n) => places[n] === lane)
    expect(news!.held.map((key) => Buffer.from(key, 'base64').toString()).sort()).toEqual(ofLane.sort())
  }
})

test('a redrive waits for a batch that is past its comparison, and then takes its place before what comes later', async () => {
  const owned = await partition()
  const id = await idAt(owned.ref.group, await owned.bury('k', 'skip'))
  const session = await database.lease()
  await session.query('begin')
  await session.query('select from tidemark.consumer_position where group_name = $1 for update', [owned.ref.group])
  let done: readonly RedriveOutcome[] | null = null
  const redrive = store.redrive([{ id }], { actor }).then((outcome) => (done = outcome))
  await until('the redrive waits for the position', waitsForPosition)
  expect(done).toBeNull()
  await session.query('commit')
  session.release()
  expect(await redrive).toMatchObject([{ outcome: 'redriven' }])
})

test('lanes that are replaced between the look and the lock: the hold is counted where the key is now', async () => {
  const owned = await partition(1)
  const keys = ['a', 'b', 'c', 'd', 'e', 'f']
  const offsets: number[] = []
  for (const key of keys) offsets.push(await owned.bury(key, 'skip'))
  const ids = await Promise.all(offsets.map((offset) => idAt(owned.ref.group, offset)))
  const at = { offset: owned.nextOffset, leaderEpoch: null }
  const change = consumer.replaceLanes(owned.ref, [owned.lane(0)], 3, at)
  const outcomes = await Promise.all(ids.map((id) => store.redrive([{ id }], { actor })))
  if ((await change) === 'fenced') {
    // A redrive came first, so the owner begins anew.
    const { lanes } = await consumer.takeOver({ partition: owned.ref, lockTimeoutMs: 1_000 })
    await consumer.replaceLanes(owned.ref, lanes, 3, at)
  }
  expect(outcomes.flat().every(({ outcome }) => outcome === 'redriven')).toBe(true)
  const held = await rows<{ lane: number; holds: number }>(
    'select lane, holds::int from tidemark.consumer_position where group_name = $1 order by lane',
    [owned.ref.group],
  )
  expect(held.map(({ lane }) => lane)).toEqual([0, 1, 2])
  const after = await consumer.takeOver({ partition: owned.ref, lockTimeoutMs: 1_000 })
  expect(after.parkedKeys.map((key) => Buffer.from(key, 'base64').toString()).sort()).toEqual(keys)
})

test('the hold is counted in the lane that the key has when the row is locked, not when it was looked at', async () => {
  const owned = await partition(1)
  const { group } = owned.ref
  const key = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].find((one) => laneOf(Buffer.from(one), 0, 3) === 2)!
  const id = await idAt(group, await owned.bury(key, 'skip'))
  const session = await database.lease()
  await session.query('begin')
  await session.query('select from tidemark.consumer_position where group_name = $1 for update', [group])
  const redrive = store.redrive([{ id }], { actor })
  await until('the redrive waits for the position', waitsForPosition)
  // The row stays, so that only the comparison of the count can tell.
  await session.query('update tidemark.consumer_position set lanes = 3 where group_name = $1', [group])
  await session.query(
    `insert into tidemark.consumer_position (group_name, topic, topic_id, partition, lane, lanes, next_offset)
select group_name, topic, topic_id, partition, n, 3, next_offset from tidemark.consumer_position, generate_series(1, 2) n where group_name = $1`,
    [group],
  )
  await session.query('commit')
  session.release()
  expect(await redrive).toMatchObject([{ outcome: 'redriven' }])
  const held = await rows<{ holds: number }>('select holds::int from tidemark.consumer_position where group_name = $1 order by lane', [
    group,
  ])
  expect(held.map(({ holds }) => holds)).toEqual([0, 0, 1])
})

test('a discarded head leaves the key blocked where the next one is dead, too', async () => {
  const owned = await partition()
  const { group } = owned.ref
  const [first, second] = [await owned.bury('k', 'skip'), await owned.bury('k')]
  const id = await idAt(group, first)
  await count(group)
  await store.redrive([{ id }], { actor })
  // It dies again, and blocks its key this time.
  await rows(`update tidemark.parked_msg set dead = true where group_name = $1 and log_offset = $2`, [group, first])
  await rows(`update tidemark.dead_letter set state = 'dead', policy = 'block' where id = $1`, [id])
  await count(group)
  await store.change(id, { kind: 'discard' }, { actor })
  expect(await keyRows(group)).toMatchObject([{ messages: 1, blocked: true }])
  await store.redrive([{ id: await idAt(group, second) }], { actor })
  expect(await keyRows(group)).toMatchObject([{ messages: 1, blocked: false, due: true }])
})

test('redrives raise the count of holds of their own lane alone', async () => {
  const owned = await partition(4)
  const key = 'some key'
  const lane = laneOf(Buffer.from(key), 0, 4)
  const offset = owned.nextOffset
  await owned.bury(key, 'skip', lane)
  await store.redrive([{ id: await idAt(owned.ref.group, offset) }], { actor })
  const held = await rows<{ holds: number }>('select holds::int from tidemark.consumer_position where group_name = $1 order by lane', [
    owned.ref.group,
  ])
  expect(held.map(({ holds }) => holds)).toEqual([0, 1, 2, 3].map((one) => (one === lane ? 1 : 0)))
})

test('a group without a position in the partition gets nothing back', async () => {
  const owned = await partition()
  const id = await idAt(owned.ref.group, await owned.bury('k', 'skip'))
  await rows('delete from tidemark.consumer_position where group_name = $1', [owned.ref.group])
  expect(await store.redrive([{ id }], { actor })).toEqual([{ id, outcome: 'refused', reason: 'no-position' }])
})

test('redrives, discards and edits all at once leave every table in line with the others', async () => {
  const owned = await partition()
  const { group } = owned.ref
  const keys = ['a', 'b', 'c', 'd', 'e', null]
  const offsets: number[] = []
  for (let n = 0; n < 30; n++) {
    const key = keys[n % keys.length]!
    offsets.push(await owned.bury(key, key === null || n >= 6 ? 'skip' : 'block'))
  }
  await count(group)
  const ids = await Promise.all(offsets.map((offset) => idAt(group, offset)))
  const tallies = { redriven: 0, discarded: 0, edited: 0, conflicts: 0 }
  const worker = async (turn: number): Promise<void> => {
    for (const [n, id] of [...ids.slice(turn * 5), ...ids.slice(0, turn * 5)].entries()) {
      const what = (n * 7 + turn * 3) % 4
      const change: LetterChange = { kind: 'discard' }
      const done = await (
        what === 0
          ? store.change(id, change, { actor }).then(() => 'discarded' as const)
          : what === 1
            ? store.edit(id, { value: Buffer.from(`{"by":${turn}}`) }, { actor, redrive: n % 2 === 0 }).then(() => 'edited' as const)
            : store
                .redrive([{ id }], { actor })
                .then(([one]) => (one!.outcome === 'redriven' ? ('redriven' as const) : ('conflicts' as const)))
      ).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'DEAD_LETTER_CONFLICT' })
        return 'conflicts' as const
      })
      tallies[done] += 1
    }
  }
  await Promise.all([0, 1, 2, 3].map(worker))
  expect(await broken(group)).toEqual([])
  expect(Math.min(...Object.values(tallies))).toBeGreaterThan(0)
  const left = await rows('select from tidemark.dead_letter where group_name = $1 and state = $2', [group, 'dead'])
  expect(left).toEqual([])
})

describe.each(crashPoints.filter((name) => name.startsWith('redrive:')))('an operator killed at %s', (name) => {
  test('leaves all of the redrive, or nothing', async () => {
    const owned = await partition()
    const id = await idAt(owned.ref.group, await owned.bury('k', 'skip'))
    const killed = startProgram(new URL('support/redrive-process.ts', import.meta.url), [url, String(id)], {
      env: { TIDEMARK_CRASH_POINT: name },
    })
    const ending = await killed.ended
    expect(ending.signal, ending.stderr).toBe('SIGKILL')
    const committed = name === 'redrive:after-commit'
    expect(await broken(owned.ref.group)).toEqual([])
    expect((await store.get(id))?.state).toBe(committed ? 'redriven' : 'dead')
    // Nothing is done without its line, and no line says what was not done.
    const lines = await rows(`select actor, outcome from tidemark.audit_log where verb = 'dead-letter.redrive' and target_id = $1`, [id])
    expect(lines).toEqual(committed ? [{ actor: 'a process', outcome: 'done' }] : [])
    expect(await keyRows(owned.ref.group)).toHaveLength(committed ? 1 : 0)
    // Whoever goes on meets no lock, and does what is left.
    expect(await store.redrive([{ id }], { actor })).toMatchObject([committed ? { reason: 'not-dead' } : { outcome: 'redriven' }])
  })
})

test('an operator killed in the middle of many letters leaves the line that they were asked for, without an outcome', async () => {
  const owned = await partition()
  const { group } = owned.ref
  for (const key of ['a', 'b', 'c']) await owned.bury(key, 'skip')
  const lines = (): Promise<readonly Record<string, unknown>[]> =>
    rows(`select outcome, details from tidemark.audit_log where verb = 'dead-letter.redrive' and target_id is null order by id`)
  const killed = startProgram(new URL('support/redrive-process.ts', import.meta.url), [url, group], {
    env: { TIDEMARK_CRASH_POINT: 'redrive:after-commit' },
  })
  const ending = await killed.ended
  expect(ending.signal, ending.stderr).toBe('SIGKILL')
  expect((await store.count({ groups: [group], states: ['redriven'] })).count).toBeGreaterThan(0)
  expect(await lines()).toEqual([{ outcome: 'asked', details: {} }])
  const finished = startProgram(new URL('support/redrive-process.ts', import.meta.url), [url, group], {})
  expect((await finished.ended).code).toBe(0)
  const left = (await lines()).slice(1)
  expect(left).toEqual([
    { outcome: 'asked', details: {} },
    { outcome: 'done', details: { letters: expect.any(Number) as number } },
  ])
  expect((await store.count({ groups: [group] })).count).toBe(0)
})
