import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { beforeEach, describe, expect, test } from 'vitest'
import type { BatchEnd, LanePosition, LaneRef, PartitionRef } from '../../src/consumer/index.ts'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { PostgresConsumerStore } from '../../src/drivers/postgres/postgres-consumer-store.ts'
import type { Session } from '../../src/drivers/postgres/session.ts'
import { endSuperseded } from '../../src/drivers/postgres/superseded-batches.ts'
import { until } from '../support/until.ts'
import { consumerDatabase, countedRecord } from './support/consumer-database.ts'

/**
 * The store's side of the protocol, step by step against a second actor. Each test fails when its safeguard is taken out of the statements;
 * some of these safeguards look redundant, so a tidy mind may be tempted (see "Each safeguard" in docs/design/consumer.md).
 */

const { url, database, store, rows, reset } = await consumerDatabase('protocol')
const partition: PartitionRef = { group: 'g', topic: 't', topicId: 'id', partition: 0 }
const lane = { ...partition, lane: 0 }
const takeOver = () => store.takeOver({ partition, lockTimeoutMs: 200 })
const key = (name: string) => Buffer.from(name).toString('base64')
const at = (offset: number) => ({ offset, leaderEpoch: null })
const record = (name: string, offset: number) => ({ ...countedRecord(name, offset), offset, timestamp: 1_000 })

beforeEach(async () => {
  await reset()
  await store.makePositions({ topic: partition, lanes: 2, first: [0], later: [0] })
})

function end(position: LanePosition, nextOffset: number, rest: Partial<BatchEnd> = {}): BatchEnd {
  const nothing = { handled: [], queue: [], park: [], deadLetters: [], publish: [] }
  const bounds = { bytesPerKey: 10_000, bytesPerPartition: 10_000 }
  return { position, nextOffset, leaderEpoch: null, highWater: {}, ...nothing, bounds, inFlight: 1, ran: [], ...rest }
}

async function commitBatch(position: LanePosition, nextOffset: number, rest: Partial<BatchEnd> = {}) {
  const batch = await store.begin({ ...partition, lane: position.lane })
  await batch.tx.query('insert into effect (id, key, n) values ($1, $2, $3)', [`${position.lane}`, 'k', nextOffset])
  return batch.commit(end(position, nextOffset, rest))
}

/** A transaction of somebody else, on a connection of its own. */
async function elsewhere<T>(work: (session: Session) => Promise<T>): Promise<T> {
  return database.use(work)
}

async function isWaiting(): Promise<boolean> {
  return (await rows(`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)).length > 0
}

async function park(name: string, offset: number): Promise<void> {
  await rows(`insert into tidemark.parked_key (group_name, topic_id, partition, key, reason) values ('g', 'id', 0, $1, 'test')`, [
    Buffer.from(name),
  ])
  await rows(
    `insert into tidemark.parked_msg (group_name, topic_id, partition, key, log_offset, topic, log_time, headers) values ('g', 'id', 0, $1, $2, 't', now(), '[]')`,
    [Buffer.from(name), offset],
  )
}

const letter = (name: string, offset: number, policy: 'block' | 'skip' = 'block') => ({
  record: record(name, offset),
  messageId: 'm',
  type: 'Counted',
  handler: 'h',
  policy,
  errorClass: 'Error',
  reason: 'r',
  stack: null,
  frame: null,
  fingerprint: 'f',
  attempts: [],
  codeVersion: null,
})

describe('the compare-and-set', () => {
  test('lets no batch of a former owner commit, whatever it was about to do', async () => {
    const mine = (await takeOver()).lanes[0]!
    await takeOver()
    // Begun after the take-over, by somebody who has not heard of it: what was open before is ended.
    const batch = await store.begin(lane)
    await batch.tx.query(`insert into effect (id, key, n) values ('late', 'k', 1)`)
    expect(await batch.commit(end(mine, 5))).toEqual({ outcome: 'moved' })
    expect(await rows('select from effect')).toEqual([])
  })

  test('lets the same batch commit once, though its first commit is heard of late', async () => {
    const mine = (await takeOver()).lanes[0]!
    expect(await commitBatch(mine, 5)).toMatchObject({ outcome: 'committed' })
    expect(await commitBatch(mine, 5)).toEqual({ outcome: 'moved' })
    expect(await rows('select from effect')).toHaveLength(1)
  })

  test('lets no batch commit that ran before a key of its lane was held', async () => {
    const mine = (await takeOver()).lanes[0]!
    await rows('update tidemark.consumer_position set holds = holds + 1 where lane = 0')
    expect(await commitBatch(mine, 5)).toEqual({ outcome: 'moved' })
    const fresh = (await store.reload(lane))!.position
    expect(fresh.holds).toBe(1)
    expect(await commitBatch(fresh, 5)).toMatchObject({ outcome: 'committed' })
  })

  test('finds its row where the former batch left it, and by its key where that is not so', async () => {
    const mine = (await takeOver()).lanes[0]!
    const first = await commitBatch(mine, 5)
    if (first.outcome !== 'committed') throw new Error(first.outcome)
    const [row] = await rows<{ at: string }>('select ctid::text as at from tidemark.consumer_position where lane = 0')
    expect(first.position.at).toBe(row!.at)
    const second = await commitBatch({ ...first.position, at: '(999,9)' }, 6)
    expect(second).toMatchObject({ outcome: 'committed', position: { nextOffset: 6 } })
    expect(await commitBatch({ ...mine, nextOffset: 6, at: null }, 7)).toMatchObject({ outcome: 'committed' })
  })

  test('never takes the row of another lane that moved to the remembered place', async () => {
    const { lanes } = await takeOver()
    expect(await commitBatch({ ...lanes[0]!, at: lanes[1]!.at }, 5)).toMatchObject({ outcome: 'committed' })
    expect(await rows('select lane, next_offset::int as n from tidemark.consumer_position order by lane')).toEqual([
      { lane: 0, n: 5 },
      { lane: 1, n: 0 },
    ])
  })
})

describe('taking over', () => {
  test('shows a key that the former owner parked in the transaction it waited for', async () => {
    const mine = (await takeOver()).lanes[0]!
    await elsewhere(async (session) => {
      await session.run([
        { text: 'begin' },
        { text: `update tidemark.consumer_position set next_offset = 5 where lane = 0 and epoch = $1`, params: [mine.epoch] },
        { text: `insert into tidemark.parked_key (group_name, topic_id, partition, key, reason) values ('g', 'id', 0, 'late', 'r')` },
      ])
      const taking = store.takeOver({ partition, lockTimeoutMs: 10_000 })
      await until('the take-over waits', isWaiting)
      await session.run([{ text: 'commit' }])
      const state = await taking
      expect(state.parkedKeys).toEqual([key('late')])
      expect(state.lanes[0]!.nextOffset).toBe(5)
    })
  })

  test('ends a former owner that stands still in a transaction on the row', async () => {
    const mine = (await takeOver()).lanes[0]!
    const frozen = await database.lease()
    await frozen.run([
      { text: 'begin' },
      { text: `update tidemark.consumer_position set next_offset = 5 where lane = 0 and epoch = $1`, params: [mine.epoch] },
    ])
    const state = await takeOver()
    expect(state.lanes.map(({ nextOffset }) => nextOffset)).toEqual([0, 0])
    await expect(frozen.run([{ text: 'commit' }])).rejects.toThrow()
    frozen.release(true)
  })

  test('does not end one that works on a statement', async () => {
    await takeOver()
    await elsewhere(async (session) => {
      await session.run([{ text: 'begin' }, { text: 'select from tidemark.consumer_position for update' }])
      const working = session.run([{ text: 'select pg_sleep(0.6)' }, { text: 'commit' }])
      await takeOver()
      await expect(working).resolves.toBeDefined()
    })
  })

  test("ends whatever batches the former owner has open, and nobody else's", async () => {
    await takeOver()
    const open = async (of: LaneRef) => {
      const batch = await store.begin(of)
      await batch.tx.query('select 1')
      return batch
    }
    const former = [await open(lane), await open({ ...lane, lane: 1 })]
    const working = former[1]!.tx.query('select pg_sleep(30)').catch(() => 'ended')
    const other = [await open({ ...lane, group: 'h' }), await open({ ...lane, partition: 1 }), await open({ ...lane, topicId: 'other' })]
    await takeOver()
    expect(await working).toBe('ended')
    const own = await open(lane)
    await expect(former[0]!.tx.query('select 1')).rejects.toThrow()
    for (const batch of [own, ...other]) await expect(batch.tx.query('select 1 as n')).resolves.toEqual([{ n: 1 }])
    await Promise.all([...former, ...other, own].map((batch) => batch.rollBack()))
  })

  test('ends nobody once another one has taken over, too', async () => {
    const { lanes } = await takeOver()
    await takeOver()
    const batch = await store.begin(lane)
    await batch.tx.query('select 1')
    expect(await endSuperseded(database, 'tidemark', partition, lanes)).toBeNull()
    await expect(batch.tx.query('select 1 as n')).resolves.toEqual([{ n: 1 }])
    await batch.rollBack()
  })

  test('goes on where it may not end them, and says so', async () => {
    const role = `limited_${process.pid}`
    await rows(`create role ${role} login password 'only-for-this-test'`)
    await rows(`grant usage on schema tidemark to ${role}`)
    await rows(`grant all on all tables in schema tidemark to ${role}`)
    const as = new URL(url)
    Object.assign(as, { username: role, password: 'only-for-this-test' })
    const limited = new PostgresDatabase({ connectionString: as.href })
    const troubles: unknown[] = []
    const hear = (fact: unknown): void => void troubles.push(fact)
    subscribe('tidemark:consumer:trouble', hear)
    try {
      await takeOver()
      const batch = await store.begin(lane)
      await batch.tx.query('select 1')
      const state = await new PostgresConsumerStore({ database: limited }).takeOver({ partition, lockTimeoutMs: 200 })
      expect(state.lanes).toHaveLength(2)
      expect(troubles).toMatchObject([
        { group: 'g', what: 'take-over', errorClass: 'error 42501', error: expect.stringContaining('pg_signal_backend') },
      ])
      await batch.rollBack()
    } finally {
      unsubscribe('tidemark:consumer:trouble', hear)
      await limited.close()
      await rows(`drop owned by ${role}`)
      await rows(`drop role ${role}`)
    }
  })

  test('raises the epoch of every lane', async () => {
    const first = await takeOver()
    const second = await takeOver()
    expect(second.lanes.map(({ epoch }) => epoch)).toEqual(first.lanes.map(({ epoch }) => epoch + 1))
  })

  test('of a partition without rows says so', async () => {
    expect(await store.takeOver({ partition: { ...partition, partition: 9 }, lockTimeoutMs: 100 })).toEqual({ lanes: [], parkedKeys: [] })
  })

  test('and a redrive do not wait for each other in a circle', async () => {
    await takeOver()
    await elsewhere(async (session) => {
      await session.run([{ text: 'begin' }, { text: 'update tidemark.consumer_position set holds = holds + 1 where lane = 1' }])
      const taking = store.takeOver({ partition, lockTimeoutMs: 10_000 })
      await until('the take-over waits', isWaiting)
      await session.run([
        { text: `insert into tidemark.parked_key (group_name, topic_id, partition, key, reason) values ('g', 'id', 0, 'r', 'r')` },
        { text: 'commit' },
      ])
      expect((await taking).parkedKeys).toEqual([key('r')])
    })
  })
})

describe('reloading', () => {
  test('reads the row first, then the keys: a redrive between the two shows as a key, never as a count alone', async () => {
    await takeOver()
    // A redrive commits in the middle of the reload, which the server is told to sit in.
    const slow = new PostgresConsumerStore({
      database: slowedBetween('update tidemark.consumer_position set holds = holds + 1 where lane = 0', () => park('r', 1)),
    })
    const { position, parkedKeys } = (await slow.reload(lane))!
    expect({ holds: position.holds, parkedKeys }).toEqual({ holds: 0, parkedKeys: [key('r')] })
    expect(await commitBatch(position, 5)).toEqual({ outcome: 'moved' })
  })

  test('of a lane whose row is gone says so', async () => {
    expect(await store.reload({ ...partition, lane: 7 })).toBeNull()
  })
})

/** A database that runs a redrive between the first and the second statement inside a transaction. */
function slowedBetween(raise: string, parkKey: () => Promise<void>): typeof database {
  const use: typeof database.use = (work) =>
    database.use(async (session) => {
      const run: Session['run'] = async ([begin, first, ...rest]) => {
        const results = await session.run([begin!, first!])
        await rows(raise)
        await parkKey()
        return [...results, ...(await session.run(rest))]
      }
      return work(new Proxy(session, { get: (target, name) => (name === 'run' ? run : Reflect.get(target, name, target)) }))
    })
  return new Proxy(database, { get: (target, name) => (name === 'use' ? use : Reflect.get(target, name, target)) })
}

describe('queueing behind a key', () => {
  test('is refused when the key was released meanwhile, and nothing is stranded', async () => {
    const mine = (await takeOver()).lanes[0]!
    expect(await commitBatch(mine, 5, { queue: [record('gone', 3)] })).toEqual({ outcome: 'released' })
    expect(await rows('select from tidemark.parked_msg')).toEqual([])
    expect(await rows('select from effect')).toEqual([])
  })

  test('waits for a release that is under way, and is refused then', async () => {
    await park('k', 0)
    const mine = (await takeOver()).lanes[0]!
    await elsewhere(async (session) => {
      await session.run([{ text: 'begin' }, { text: 'select from tidemark.parked_key for update' }])
      const committing = commitBatch(mine, 5, { queue: [record('k', 3)] })
      await until('the batch waits', isWaiting)
      await session.run([{ text: 'delete from tidemark.parked_msg' }, { text: 'delete from tidemark.parked_key' }, { text: 'commit' }])
      expect(await committing).toEqual({ outcome: 'released' })
    })
    expect(await rows('select from tidemark.parked_msg')).toEqual([])
  })

  test('holds off a release, which then finds the message: two statements, never one', async () => {
    await park('k', 0)
    const mine = (await takeOver()).lanes[0]!
    const owner = await database.lease()
    // The owner's append, stopped before its commit.
    await owner.run([
      { text: 'begin' },
      { text: `update tidemark.consumer_position set next_offset = 5 where lane = 0 and epoch = $1`, params: [mine.epoch] },
      { text: 'select from tidemark.parked_key for update' },
      {
        text: `insert into tidemark.parked_msg (group_name, topic_id, partition, key, log_offset, topic, log_time, headers) values ('g', 'id', 0, 'k', 3, 't', now(), '[]')`,
      },
    ])
    await elsewhere(async (session) => {
      const releasing = session.run([
        { text: 'begin' },
        { text: `select from tidemark.parked_key where key = 'k' for update` },
        { text: `delete from tidemark.parked_msg where key = 'k' and log_offset = 0` },
        { text: `delete from tidemark.parked_key where key = 'k' and not exists (select from tidemark.parked_msg m where m.key = 'k')` },
        { text: 'commit' },
      ])
      await until('the release waits', isWaiting)
      await owner.run([{ text: 'commit' }])
      owner.release()
      await releasing
    })
    expect(await rows('select log_offset::int as o from tidemark.parked_msg')).toEqual([{ o: 3 }])
    expect(await rows('select from tidemark.parked_key')).toHaveLength(1)
  })

  test('appends to several keys at once, each behind its own', async () => {
    await park('a', 0)
    await park('b', 1)
    const mine = (await takeOver()).lanes[0]!
    expect(await commitBatch(mine, 9, { queue: [record('b', 4), record('a', 5), record('b', 6)] })).toMatchObject({ outcome: 'committed' })
    const waiting = await rows(
      `select convert_from(key, 'utf8') as key, array_agg(log_offset::int order by log_offset) as o from tidemark.parked_msg group by 1 order by 1`,
    )
    expect(waiting).toEqual([
      { key: 'a', o: [0, 5] },
      { key: 'b', o: [1, 4, 6] },
    ])
  })

  test('keeps the record as it stood in the log', async () => {
    await park('k', 0)
    const mine = (await takeOver()).lanes[0]!
    const odd = {
      ...record('k', 3),
      headers: [
        ['a', null],
        ['a', Buffer.from([0xff])],
        ['b', 'ü\0'],
      ] as const,
      value: null,
    }
    await commitBatch(mine, 9, { queue: [odd] })
    expect(await rows('select value, headers, log_time from tidemark.parked_msg where log_offset = 3')).toEqual([
      {
        value: null,
        headers: [
          ['a', null],
          ['a', { base64: '/w==' }],
          ['b', 'ü\0'],
        ],
        log_time: new Date(1_000),
      },
    ])
  })
})

describe('a dead letter', () => {
  test('that blocks parks its key with itself as the head, marked', async () => {
    const mine = (await takeOver()).lanes[0]!
    await commitBatch(mine, 5, { deadLetters: [letter('k', 4)] })
    expect(await rows('select log_offset::int as o, dead from tidemark.parked_msg')).toEqual([{ o: 4, dead: true }])
    expect((await store.reload(lane))!.parkedKeys).toEqual([key('k')])
  })

  test('that was written once is not written again when its batch is', async () => {
    const mine = (await takeOver()).lanes[0]!
    await commitBatch(mine, 5, { deadLetters: [letter('k', 4)] })
    expect(await commitBatch(mine, 5, { deadLetters: [letter('k', 4)] })).toEqual({ outcome: 'moved' })
    expect(await rows('select from tidemark.dead_letter')).toHaveLength(1)
  })
})

describe('the idle advance', () => {
  test('never moves a lane back, nor one that has another owner', async () => {
    const [mine, other] = (await takeOver()).lanes as [LanePosition, LanePosition]
    await commitBatch(mine, 9)
    await rows('update tidemark.consumer_position set epoch = epoch + 1 where lane = 1')
    const moved = await store.advance(partition, [
      { lane: 0, epoch: mine.epoch, offset: 5, leaderEpoch: null },
      { lane: 1, epoch: other.epoch, offset: 5, leaderEpoch: null },
    ])
    expect(moved).toEqual([])
    expect(await rows('select next_offset::int as n from tidemark.consumer_position order by lane')).toEqual([{ n: 9 }, { n: 0 }])
  })

  test('moves all idle lanes in one statement and says where they stand', async () => {
    const { lanes } = await takeOver()
    const moved = await store.advance(
      partition,
      lanes.map(({ lane, epoch }) => ({ lane, epoch, offset: 7, leaderEpoch: null })),
    )
    expect(moved).toHaveLength(2)
    expect(
      await commitBatch(
        moved.find(({ lane }) => lane === 1)!,
        8,
      ),
    ).toMatchObject({ outcome: 'committed' })
  })
})

describe('the leader epoch of a position', () => {
  const found = async () => (await store.reload(lane))!.position.leaderEpoch

  test('does not outlive a next offset that was set by hand, or by an older version, which knows nothing of it', async () => {
    const { lanes } = await takeOver()
    expect(await commitBatch(lanes[0]!, 9, { leaderEpoch: 3 })).toMatchObject({ position: { leaderEpoch: 3 } })
    expect(await found()).toBe(3)
    await rows('update tidemark.consumer_position set next_offset = 7')
    expect(await found()).toBeNull()
    await rows('update tidemark.consumer_position set next_offset = 9')
    expect(await found()).toBe(3)
  })

  test('is no reason for a batch to have moved', async () => {
    const { lanes } = await takeOver()
    expect(await commitBatch({ ...lanes[0]!, leaderEpoch: 8 }, 9, { leaderEpoch: 3 })).toMatchObject({ outcome: 'committed' })
  })
})

describe('replacing lanes', () => {
  test('begins above every old epoch, so that no former owner reaches it again', async () => {
    await takeOver()
    const state = await takeOver()
    await rows('update tidemark.consumer_position set epoch = 40 where lane = 1')
    const from = state.lanes.map((row) => (row.lane === 1 ? { ...row, epoch: 40 } : row))
    const replaced = await store.replaceLanes(partition, from, 3, at(12))
    if (replaced === 'fenced') throw new Error('fenced')
    expect(replaced.lanes.map(({ lane, lanes, epoch, nextOffset }) => [lane, lanes, epoch, nextOffset])).toEqual(
      [0, 1, 2].map((n) => [n, 3, 41, 12]),
    )
    expect(await commitBatch(replaced.lanes[2]!, 13)).toMatchObject({ outcome: 'committed' })
  })

  test('is refused when a lane is not where its owner left it', async () => {
    const { lanes } = await takeOver()
    await takeOver()
    expect(await store.replaceLanes(partition, lanes, 3, at(12))).toBe('fenced')
    expect(await rows('select from tidemark.consumer_position')).toHaveLength(2)
  })

  test('carries the highest mark of each stream into every new lane', async () => {
    const { lanes } = await takeOver()
    const left = await commitBatch(lanes[0]!, 5, { highWater: { s: [3, 1], t: [1, 1] } })
    const right = await commitBatch(lanes[1]!, 5, { highWater: { s: [2, 9] } })
    if (left.outcome !== 'committed' || right.outcome !== 'committed') throw new Error('not committed')
    const replaced = await store.replaceLanes(partition, [left.position, right.position], 1, at(5))
    expect(replaced).toMatchObject({ lanes: [{ highWater: { s: [3, 1], t: [1, 1] } }] })
  })
})

describe('the inbox', () => {
  const handled = (ids: readonly string[]) => ({ handled: ids })

  test('refuses an id that was handled elsewhere meanwhile, after waiting for its outcome', async () => {
    const [mine, other] = (await takeOver()).lanes as [LanePosition, LanePosition]
    await elsewhere(async (session) => {
      await session.run([{ text: 'begin' }, { text: `insert into tidemark.inbox values ('g', 'x', 0)` }])
      const committing = commitBatch(mine, 5, handled(['y', 'x']))
      await until('the batch waits', isWaiting)
      await session.run([{ text: 'commit' }])
      expect(await committing).toEqual({ outcome: 'duplicate' })
    })
    expect(await commitBatch(other, 5, handled(['y']))).toMatchObject({ outcome: 'committed' })
    const batch = await store.begin(lane)
    expect(await batch.alreadyHandled(['x', 'y', 'z'])).toEqual(new Set(['x', 'y']))
    await batch.rollBack()
  })

  test('is a ring: the newest part is written, all are looked into, the oldest is emptied when its time is over', async () => {
    let mine = (await takeOver()).lanes[0]!
    for (let round = 0; round < 6; round++) {
      const done = await commitBatch(mine, mine.nextOffset + 1, handled([`round ${round}`]))
      if (done.outcome !== 'committed') throw new Error(done.outcome)
      mine = done.position
      await rows(`update tidemark.inbox_rotation set since = now() - interval '1 day'`)
      await store.forgetHandled(3 * 23 * 3_600_000)
      await rows(`update tidemark.inbox_rotation set previous = null`)
    }
    const batch = await store.begin(lane)
    const known = await batch.alreadyHandled([0, 1, 2, 3, 4, 5].map((round) => `round ${round}`))
    await batch.rollBack()
    expect([...known].sort()).toEqual(['round 3', 'round 4', 'round 5'])
  })

  test('is written in both parts around a change, for the sake of those who have not seen it', async () => {
    await rows('update tidemark.inbox_rotation set current = 0, previous = null, since = now()')
    const [mine, other] = (await takeOver()).lanes as [LanePosition, LanePosition]
    await elsewhere(async (late) => {
      // It looked at the ring before the change and inserts after it.
      await late.run([{ text: 'begin' }, { text: `insert into tidemark.inbox values ('g', 'x', 0)` }])
      await rows(`update tidemark.inbox_rotation set previous = current, current = 1, since = now()`)
      const committing = commitBatch(mine, 5, handled(['x']))
      await until('the batch waits', isWaiting)
      await late.run([{ text: 'commit' }])
      expect(await committing).toEqual({ outcome: 'duplicate' })
    })
    expect(await commitBatch(other, 5, handled(['z']))).toMatchObject({ outcome: 'committed' })
  })

  test('does not turn before its time', async () => {
    await rows('update tidemark.inbox_rotation set current = 0, previous = null, since = now()')
    await store.forgetHandled(3_600_000)
    expect(await rows('select current from tidemark.inbox_rotation')).toEqual([{ current: 0 }])
  })
})

test('the first positions of a topic are made by one process; another one that comes meanwhile waits and takes them as they are', async () => {
  const topic = { group: 'g', topic: 't', topicId: 'twice' }
  await elsewhere(async (session) => {
    await session.run([
      { text: 'begin' },
      { text: `select pg_advisory_xact_lock(hashtextextended('tidemark positions g twice', 0))` },
      {
        text: `insert into tidemark.consumer_position (group_name, topic, topic_id, partition, lane, lanes, next_offset) values ('g', 't', 'twice', 0, 0, 1, 4)`,
      },
    ])
    const making = store.makePositions({ topic, lanes: 2, first: [9, 9], later: [0, 0] })
    await until('it waits', isWaiting)
    await session.run([{ text: 'commit' }])
    await making
  })
  const found = (await store.positions('g'))
    .filter(({ topicId }) => topicId === 'twice')
    .map(({ partition, nextOffset }) => [partition, nextOffset])
  expect(found.sort()).toEqual([
    [0, 4],
    [1, 0],
  ])
})
