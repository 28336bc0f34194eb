import { beforeEach, describe, expect, test } from 'vitest'
import type { BatchEnd, LanePosition, LeasedKey, PartitionRef } from '../../src/consumer/index.ts'
import type { Session } from '../../src/drivers/postgres/session.ts'
import { until } from '../support/until.ts'
import { consumerDatabase, countedRecord } from './support/consumer-database.ts'

/**
 * The retrier's side of the protocol, step by step against a second actor, as `protocol.test.ts` does for the owner of a lane. Each test fails when its
 * safeguard is taken out of the statements (see "Each safeguard" in docs/design/consumer.md).
 */

const { database, store, rows, reset } = await consumerDatabase('retrier_protocol')
const partition: PartitionRef = { group: 'g', topic: 't', topicId: 'id', partition: 0 }
const lane = { ...partition, lane: 0 }
const record = (offset: number) => ({ ...countedRecord('k', offset), topic: 't', offset, timestamp: 1_000 })
const ofDeadKey = `update tidemark.parked_msg set dead = true where log_offset`

beforeEach(async () => {
  await reset()
  await store.makePositions({ topic: partition, lanes: 1, first: [0], later: [0] })
})

async function owner(): Promise<LanePosition> {
  return (await store.takeOver({ partition, lockTimeoutMs: 200 })).lanes[0]!
}

async function commitBatch(position: LanePosition, nextOffset: number, rest: Partial<BatchEnd>) {
  const nothing = { handled: [], queue: [], park: [], deadLetters: [], publish: [] }
  const bounds = { bytesPerKey: 10_000, bytesPerPartition: 10_000 }
  const batch = await store.begin(lane)
  return batch.commit({ position, nextOffset, leaderEpoch: null, highWater: {}, ...nothing, bounds, inFlight: 1, ran: [], ...rest })
}

/** Has an owner park the key with a message of this offset, due at once. Returns the owner's position. */
async function park(offset: number, position?: LanePosition): Promise<LanePosition> {
  const from = position ?? (await owner())
  const result = await commitBatch(from, offset + 1, { park: [{ record: record(offset), reason: 'r', attempts: [], afterMs: 0 }] })
  if (result.outcome !== 'committed') throw new Error(result.outcome)
  return result.position
}

async function lease(leaseMs = 60_000): Promise<LeasedKey> {
  const [key] = await store.parked.lease({
    group: 'g',
    topicIds: ['id'],
    keys: 10,
    beyond: { keys: 10, bytes: 0 },
    suspects: 10,
    leaseMs,
    maxMessages: 10,
    maxBytes: 10_000,
  })
  if (key === undefined) throw new Error('nothing to lease')
  return key
}

/** `released`: the key waits no more. */
async function retry(key: LeasedKey, done = 1) {
  const transaction = await store.parked.begin([key])
  await transaction.tx.query(`insert into effect (id, key, n) values ($1, 'k', 1)`, [key.token])
  const result = await transaction.commit({ done: [done], handled: [], publish: [] })
  if (result.outcome !== 'committed') return result
  return { ...result, released: (await rows('select from tidemark.parked_key')).length === 0 }
}

const moved = { outcome: 'moved' }
const expire = () => rows(`update tidemark.parked_key set lease_until = now() - interval '1 second'`)
const waiting = async () => (await rows<{ o: number }>('select log_offset::int as o from tidemark.parked_msg order by 1')).map(({ o }) => o)
const noted = { do: 'park', charged: 1, attempts: [{ at: 1, error: 'e' }], reason: 'e', afterMs: 0 } as const

async function isWaiting(): Promise<boolean> {
  return (await rows(`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)).length > 0
}

/** A transaction of somebody else that has done this and stands still, while `work` goes on. It commits behind it. */
async function beside(text: string, work: (commit: () => Promise<unknown>) => Promise<void>): Promise<void> {
  await database.use(async (session: Session) => {
    await session.run([{ text: 'begin' }, { text }])
    let isOpen = true
    const commit = async (): Promise<void> => {
      if (isOpen) await session.run([{ text: 'commit' }])
      isOpen = false
    }
    try {
      await work(commit)
    } finally {
      await commit()
    }
  })
}

describe('the lease', () => {
  test('lets nobody commit, or note a failure, whose lease went to another retrier', async () => {
    await park(0)
    const late = await lease()
    await expire()
    const current = await lease()
    expect(await retry(late)).toEqual(moved)
    expect(await store.parked.failed(late, noted)).toBe(false)
    expect(await rows('select attempts from tidemark.parked_key')).toEqual([{ attempts: 0 }])
    expect(await retry(current)).toEqual({ outcome: 'committed', released: true })
    expect(await rows('select id from effect')).toEqual([{ id: current.token }])
  })

  test('is never the same again, also when the key was released and parked anew', async () => {
    const after = await park(0)
    const late = await lease()
    await expire()
    const current = await lease()
    await retry(current)
    await park(1, after)
    const next = await lease()
    expect(new Set([late.token, current.token, next.token]).size).toBe(3)
    // Nor does one of the former life fit, though it were for the message that is the head now.
    expect(await retry({ ...late, messages: next.messages })).toEqual(moved)
    expect(await waiting()).toEqual([1])
  })

  test('goes to one retrier at a time, and says when its holder vanished', async () => {
    await park(0)
    await lease()
    await expect(lease()).rejects.toThrow('nothing to lease')
    await expire()
    expect((await lease()).crashes).toBe(1)
  })
})

describe('the head', () => {
  test('must be what ran: an earlier message that was redriven meanwhile stays, and so does the one that ran', async () => {
    await park(2)
    const key = await lease()
    await rows(`insert into tidemark.parked_msg (group_name, topic_id, partition, key, log_offset, topic, log_time, headers)
values ('g', 'id', 0, 'k', 1, 't', now(), '[]')`)
    expect(await retry(key)).toEqual(moved)
    expect(await store.parked.failed(key, noted)).toBe(false)
    expect(await waiting()).toEqual([1, 2])
    expect(await rows('select from effect')).toEqual([])
  })

  test('that is dead, and of which an older version has not noted that its key waits for somebody, is looked at once', async () => {
    await park(0)
    await rows('update tidemark.parked_msg set dead = true')
    await expect(lease()).rejects.toThrow('nothing to lease')
    expect(await rows('select next_attempt_at::text as at, lease, crashes from tidemark.parked_key')).toEqual([
      { at: 'infinity', lease: null, crashes: 0 },
    ])
  })

  test('comes with what follows it, up to a number of bytes, and by itself when it alone is larger', async () => {
    let position = await park(0)
    for (const offset of [1, 2, 3]) {
      const result = await commitBatch(position, offset + 1, { queue: [record(offset)] })
      if (result.outcome === 'committed') position = result.position
    }
    const leased = async (maxBytes: number) => {
      const request = {
        group: 'g',
        topicIds: ['id'],
        keys: 1,
        beyond: { keys: 1, bytes: 0 },
        suspects: 10,
        leaseMs: 60_000,
        maxMessages: 10,
        maxBytes,
      }
      const keys = await store.parked.lease(request)
      await store.parked.giveBack(keys, 'untried', 0)
      return keys.flatMap(({ messages }) => messages.map(({ record: { offset } }) => offset))
    }
    const [row] = await rows<{ bytes: number }>('select bytes from tidemark.parked_msg limit 1')
    expect(await leased(1)).toEqual([0])
    expect(await leased(2 * row!.bytes)).toEqual([0, 1])
    expect(await leased(100_000)).toEqual([0, 1, 2, 3])
  })

  test('is not run while it is dead, nor is what waits behind a dead one', async () => {
    const after = await park(0)
    await commitBatch(after, 3, { queue: [record(1), record(2)] })
    await rows(`${ofDeadKey} = 1`)
    const key = await lease()
    expect(key.messages.map((message) => message.record.offset)).toEqual([0])
    await rows(`${ofDeadKey} = 0`)
    expect(await retry(key)).toEqual(moved)
  })

  test('that is done leaves the key blocked where the next one is dead', async () => {
    const after = await park(0)
    await commitBatch(after, 2, { queue: [record(1)] })
    await rows(`${ofDeadKey} = 1`)
    expect(await retry(await lease())).toEqual({ outcome: 'committed', released: false })
    await expect(lease()).rejects.toThrow('nothing to lease')
  })
})

describe('a release', () => {
  test('sees what an owner has appended while it waited for the key: two statements, never one', async () => {
    const after = await park(0)
    const key = await lease()
    await beside(`select from tidemark.parked_key for update`, async (commit) => {
      const releasing = retry(key)
      await until('the release waits', isWaiting)
      await rows(`insert into tidemark.parked_msg (group_name, topic_id, partition, key, log_offset, topic, log_time, headers)
values ('g', 'id', 0, 'k', 1, 't', now(), '[]')`)
      await rows('select 1')
      await commit()
      expect(await releasing).toEqual({ outcome: 'committed', released: false })
    })
    expect(await waiting()).toEqual([1])
    expect(await rows('select from tidemark.parked_key')).toHaveLength(1)
    expect(after.nextOffset).toBe(1)
  })

  test('does not touch the position: it neither waits for an owner that is at its commit, nor keeps one waiting', async () => {
    await park(0)
    const key = await lease()
    await beside('update tidemark.consumer_position set next_offset = 9', async () => {
      expect(await retry(key)).toEqual({ outcome: 'committed', released: true })
    })
  })

  test('is found out by the owner that appends later: its batch does not commit, and runs the message', async () => {
    const after = await park(0)
    await retry(await lease())
    expect(await commitBatch(after, 2, { queue: [record(1)] })).toEqual({ outcome: 'released' })
    expect(await waiting()).toEqual([])
  })
})

test('a handler that is tried again runs under no lock of ours: an owner appends to its key meanwhile', async () => {
  const after = await park(0)
  const key = await lease()
  const transaction = await store.parked.begin([key])
  await transaction.tx.query(`insert into effect (id, key, n) values ('x', 'k', 1)`)
  expect(await commitBatch(after, 2, { queue: [record(1)] })).toMatchObject({ outcome: 'committed' })
  expect(await transaction.commit({ done: [1], handled: [], publish: [] })).toEqual({ outcome: 'committed' })
  expect(await waiting()).toEqual([1])
})

test('a key that somebody holds by name is not released, nor tried', async () => {
  await park(0)
  const key = await lease()
  await rows(`update tidemark.parked_key set held_by = 'ada'`)
  expect(await retry(key)).toEqual({ outcome: 'committed', released: false })
  await rows('update tidemark.parked_key set lease = null')
  await expect(lease()).rejects.toThrow('nothing to lease')
})
