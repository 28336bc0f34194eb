import { describe, expect, test } from 'vitest'
import { laneOf } from '../../src/consumer/partition/lane-of.ts'
import type { LetterChange, RedriveOutcome } from '../../src/dead-letter/index.ts'
import { crashPoints } from '../../src/internal/crash-points.ts'
import { startProgram } from '../support/child-program.ts'
import { until } from '../support/until.ts'
import { noFailures, deadLetter, letterDatabase } from './support/buried.ts'

const { url, database, consumer, store, rows, partition } = await letterDatabase('redrive')
const actor = 'operator'

async function idAt(group: string, offset: number): Promise<number> {
  const [row] = await rows<{ id: string }>('select id from tidemark.dead_letter where group_name = $1 and log_offset = $2', [group, offset])
  return Number(row!.id)
}

async function waitsForPosition(): Promise<boolean> {
  const waiting = await rows(
    `select from pg_stat_activity where wait_event_type = 'Lock' and query like '%holds = holds + 1%' and datname = current_database()`,
  )
  return waiting.length === 1
}

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
  const end = { position, nextOffset: 9, leaderEpoch: null, highWater: {}, handled: [], queue: [], publish: [], ...noFailures }
  expect((await batch.commit(end)).outcome).toBe('moved')
  await batch.rollBack()
  expect(await owned.reload()).toEqual(['k'])
  await owned.queue('k')
  await store.change(id, { kind: 'comment', text: 'done' }, { actor })
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
    expect(await keyRows(owned.ref.group)).toHaveLength(committed ? 1 : 0)
    // Whoever goes on meets no lock, and does what is left.
    expect(await store.redrive([{ id }], { actor })).toMatchObject([committed ? { reason: 'not-dead' } : { outcome: 'redriven' }])
  })
})
