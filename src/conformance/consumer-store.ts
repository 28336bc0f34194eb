/**
 * The promises of the `ConsumerStore` port, as cases that any test runner can register; see `exercise`. Each case gets a group of its own.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { LeasedKey } from '../consumer/parked-port.ts'
import type { BatchEnd, ConsumerStore, DeadLetter, LanePosition, LaneRef, PartitionRef, TopicRef } from '../consumer/port.ts'
import type { LogRecord } from '../message/port.ts'
import type { Transaction } from '../message/transaction.ts'
import type { Case } from './case.ts'

/** A store, and what a handler may do through its transactions. */
export interface ConsumerStoreFixture {
  readonly store: ConsumerStore
  /** A group that nobody else uses. */
  readonly group: string
  /** Does something in a batch's transaction that shows when it has committed. */
  effect(tx: Transaction, name: string): Promise<void>
  /** What was done and committed, in any order. */
  effects(): Promise<readonly string[]>
  /** Offsets of the messages that wait behind parked keys, in order. */
  queued(partition: PartitionRef): Promise<readonly number[]>
  deadLetters(): Promise<number>
  /** Ids of the outbox's messages whose aggregate type is the name of the group. */
  published(): Promise<readonly string[]>
}

const lockTimeoutMs = 1_000
const bounds = { bytesPerKey: 10_000, bytesPerPartition: 20_000 }

function topicOf({ group }: ConsumerStoreFixture): TopicRef {
  return { group, topic: 'things', topicId: '00000000-0000-4000-8000-000000000001' }
}

/** Two lanes of one partition, taken over. */
async function owned(fixture: ConsumerStoreFixture): Promise<{ partition: PartitionRef; lanes: readonly LanePosition[] }> {
  const topic = topicOf(fixture)
  await fixture.store.makePositions({ topic, lanes: 2, first: [0], later: [0] })
  const partition = { ...topic, partition: 0 }
  const { lanes } = await fixture.store.takeOver({ partition, lockTimeoutMs })
  return { partition, lanes }
}

/** A key of the partition, as soon as one is due and nobody's. */
async function leased({ store, group }: ConsumerStoreFixture, { topicId }: PartitionRef, leaseMs: number): Promise<LeasedKey> {
  for (;;) {
    const [key] = await store.parked.lease({
      group,
      topicIds: [topicId],
      keys: 1,
      beyond: { keys: 1, bytes: 0 },
      suspects: 10,
      leaseMs,
      maxMessages: 1,
      maxBytes: 1_000,
    })
    if (key !== undefined) return key
  }
}

function batchEnd(position: LanePosition, rest: Partial<BatchEnd> = {}): BatchEnd {
  const { nextOffset, highWater } = position
  return {
    position,
    nextOffset: nextOffset + 1,
    leaderEpoch: null,
    highWater,
    handled: [],
    queue: [],
    park: [],
    deadLetters: [],
    bounds,
    inFlight: 1,
    ran: [],
    publish: [],
    ...rest,
  }
}

async function commit(fixture: ConsumerStoreFixture, lane: LaneRef, end: BatchEnd, effect?: string): Promise<string> {
  const batch = await fixture.store.begin(lane)
  if (effect !== undefined) await fixture.effect(batch.tx, effect)
  assert.equal(await batch.status(), 'open')
  const { outcome } = await batch.commit(end)
  await batch.rollBack()
  return outcome
}

function record(offset: number, key: string | null): LogRecord {
  const bytes = key === null ? null : Buffer.from(key)
  return { topic: 'things', partition: 0, offset, timestamp: 1_750_000_000_000, key: bytes, value: Buffer.from('{}'), headers: [] }
}

function deadLetter(of: LogRecord, policy: 'block' | 'skip'): DeadLetter {
  const about = { messageId: null, type: null, handler: null, codeVersion: null, stack: null, frame: null, fingerprint: 'f' }
  return { ...about, record: of, policy, errorClass: 'Error', reason: 'no', attempts: [{ at: 1_750_000_000_000, error: 'no' }] }
}

async function leaderEpochs({ store }: ConsumerStoreFixture, partition: PartitionRef): Promise<(number | null | undefined)[]> {
  return Promise.all([0, 1].map(async (lane) => (await store.reload({ ...partition, lane }))?.position.leaderEpoch))
}

const base64 = (text: string): string => Buffer.from(text).toString('base64')

export const consumerStoreCases: readonly Case<ConsumerStoreFixture>[] = [
  {
    name: 'positions are made once, from the first offsets for a topic never read, from the later ones for partitions that came since',
    async run({ store, group, ...rest }) {
      const topic = topicOf({ store, group, ...rest })
      const make = (first: readonly number[], later: readonly number[]): Promise<void> =>
        store.makePositions({ topic, lanes: 2, first, later })
      await Promise.all([make([5, 6], [1, 2]), make([5, 6], [1, 2])])
      await make([7, 7, 7], [3, 3, 3])
      const positions = (await store.positions(group)).map(({ partition, nextOffset }) => [partition, nextOffset])
      assert.deepEqual(
        positions.sort(([a], [b]) => a! - b!),
        [
          [0, 5],
          [1, 6],
          [2, 3],
        ],
      )
    },
  },
  {
    name: 'a take-over raises every epoch, and finds nothing where there are no positions',
    async run(fixture) {
      const { partition, lanes } = await owned(fixture)
      const again = await fixture.store.takeOver({ partition, lockTimeoutMs })
      assert.deepEqual(
        again.lanes.map(({ lane, epoch }) => [lane, epoch]),
        lanes.map(({ lane, epoch }) => [lane, epoch + 1]),
      )
      assert.deepEqual(await fixture.store.takeOver({ partition: { ...partition, partition: 9 }, lockTimeoutMs }), {
        lanes: [],
        parkedKeys: [],
      })
    },
  },
  {
    name: 'a batch commits its effects together with its position and high water',
    async run(fixture) {
      const { partition, lanes } = await owned(fixture)
      const highWater = { 's.1/1/0': [3, 7] } as const
      assert.equal(await commit(fixture, { ...partition, lane: 0 }, batchEnd(lanes[0]!, { nextOffset: 4, highWater }), 'done'), 'committed')
      assert.deepEqual(await fixture.effects(), ['done'])
      const read = await fixture.store.reload({ ...partition, lane: 0 })
      assert.deepEqual([read?.position.nextOffset, read?.position.highWater], [4, highWater])
      assert.equal((await fixture.store.reload({ ...partition, lane: 1 }))?.position.nextOffset, 0)
    },
  },
  {
    name: 'a batch that is rolled back leaves nothing',
    async run(fixture) {
      const { partition } = await owned(fixture)
      const batch = await fixture.store.begin({ ...partition, lane: 0 })
      await fixture.effect(batch.tx, 'undone')
      await batch.rollBack()
      assert.deepEqual(await fixture.effects(), [])
    },
  },
  ...(['epoch', 'nextOffset', 'holds'] as const).map((column): Case<ConsumerStoreFixture> => ({
    name: `a batch that finds another ${column} than it began with has moved, and leaves nothing`,
    async run(fixture) {
      const { partition, lanes } = await owned(fixture)
      const position = { ...lanes[0]!, [column]: lanes[0]![column] + 1 }
      assert.equal(await commit(fixture, { ...partition, lane: 0 }, batchEnd(position, { nextOffset: 9 }), 'undone'), 'moved')
      assert.deepEqual(await fixture.effects(), [])
      assert.equal((await fixture.store.reload({ ...partition, lane: 0 }))?.position.nextOffset, 0)
    },
  })),
  {
    name: 'an owner that another one took over from commits nothing any more',
    async run(fixture) {
      const { partition, lanes } = await owned(fixture)
      const open = await fixture.store.begin({ ...partition, lane: 0 })
      await fixture.effect(open.tx, 'undone')
      await fixture.store.takeOver({ partition, lockTimeoutMs })
      // The store may have ended what was open, or let it come to its end.
      const outcome = await open.commit(batchEnd(lanes[0]!)).then(
        (end) => end.outcome,
        () => 'ended',
      )
      assert.ok(outcome === 'moved' || outcome === 'ended', outcome)
      await open.rollBack()
      assert.equal(await commit(fixture, { ...partition, lane: 0 }, batchEnd(lanes[0]!), 'undone'), 'moved')
      assert.deepEqual(await fixture.effects(), [])
    },
  },
  {
    name: 'handled ids are found by later batches of the group, and one that comes again is a duplicate',
    async run(fixture) {
      const { partition, lanes } = await owned(fixture)
      assert.equal(await commit(fixture, { ...partition, lane: 0 }, batchEnd(lanes[0]!, { handled: ['b', 'a'] }), 'done'), 'committed')
      const batch = await fixture.store.begin({ ...partition, lane: 1 })
      assert.deepEqual([...(await batch.alreadyHandled(['a', 'b', 'c']))].sort(), ['a', 'b'])
      await batch.rollBack()
      assert.equal(await commit(fixture, { ...partition, lane: 1 }, batchEnd(lanes[1]!, { handled: ['c', 'a'] }), 'undone'), 'duplicate')
      assert.deepEqual(await fixture.effects(), ['done'])
    },
  },
  {
    name: 'a dead letter that blocks parks its key, and messages queue behind it, in order',
    async run(fixture) {
      const { partition, lanes } = await owned(fixture)
      const lane = { ...partition, lane: 0 }
      assert.equal(await commit(fixture, lane, batchEnd(lanes[0]!, { deadLetters: [deadLetter(record(0, 'k'), 'block')] })), 'committed')
      const after = await fixture.store.reload(lane)
      assert.deepEqual(after?.parkedKeys, [base64('k')])
      assert.equal(await fixture.deadLetters(), 1)
      const queue = [record(2, 'k'), record(5, 'k')]
      assert.equal(await commit(fixture, lane, batchEnd(after!.position, { nextOffset: 6, queue })), 'committed')
      assert.deepEqual(await fixture.queued(partition), [0, 2, 5])
      assert.deepEqual((await fixture.store.takeOver({ partition, lockTimeoutMs })).parkedKeys, [base64('k')])
    },
  },
  {
    name: 'keys that wait in several partitions of a topic are counted, each once; other topics, other groups and messages without a key are not',
    async run(fixture) {
      const { store, group } = fixture
      const things = topicOf(fixture)
      const others = { ...things, topic: 'others', topicId: '00000000-0000-4000-8000-000000000002' }
      const bury = async (topic: TopicRef, partition: number, keys: readonly (string | null)[]): Promise<void> => {
        const ref = { ...topic, partition }
        await store.makePositions({ topic, lanes: 1, first: [0, 0, 0], later: [0, 0, 0] })
        const { lanes } = await store.takeOver({ partition: ref, lockTimeoutMs })
        const deadLetters = keys.map((key, offset) => deadLetter(record(offset, key), 'block'))
        const end = batchEnd(lanes[0]!, { nextOffset: keys.length, deadLetters })
        assert.equal(await commit(fixture, { ...ref, lane: 0 }, end), 'committed')
      }
      await bury(things, 0, [null, 'a', 'b', 'once'])
      await bury(others, 1, ['once', 'c'])
      assert.deepEqual(await store.parked.splitKeys(group), [])
      await bury(things, 2, [null, 'b', 'a'])
      await bury(things, 1, [null, 'b'])
      await bury({ ...others, group: `${group} of others` }, 0, ['c'])

      const [found, ...more] = await store.parked.splitKeys(group)
      assert.deepEqual(more, [])
      assert.deepEqual([found!.topic, found!.topicId, found!.keys, found!.partitions], [things.topic, things.topicId, 2, [0, 1, 2]])
      const examples = found!.examples.map(({ key, partitions }) => `${key.toString()} in ${partitions.join(', ')}`)
      assert.deepEqual(examples.toSorted(), ['a in 0, 2', 'b in 0, 1, 2'])

      const many = Array.from({ length: 12 }, (_, i) => `many ${i}`)
      await bury(others, 2, many)
      await bury(others, 0, many)
      const [, second] = (await store.parked.splitKeys(group)).toSorted((one) => (one.topic === 'things' ? -1 : 1))
      assert.deepEqual([second!.keys, second!.partitions, second!.examples.length], [12, [0, 2], 5])
    },
  },
  {
    name: 'who gives a key back that it ran takes crashes back with it; who has not run it leaves them',
    async run(fixture) {
      const { store } = fixture
      const { partition, lanes } = await owned(fixture)
      const park = [{ record: record(0, 'k'), reason: 'no', attempts: [], afterMs: 0 }]
      assert.equal(await commit(fixture, { ...partition, lane: 0 }, batchEnd(lanes[0]!, { park })), 'committed')
      const lease = (leaseMs: number): Promise<LeasedKey> => leased(fixture, partition, leaseMs)
      assert.equal((await lease(0)).crashes, 0)
      const second = await lease(0)
      assert.equal(second.crashes, 1)
      const third = await lease(60_000)
      assert.equal(third.crashes, 2)
      await store.parked.giveBack([second], 'tried', 0)
      await store.parked.giveBack([third], 'untried', 0)
      const fourth = await lease(60_000)
      assert.equal(fourth.crashes, 2, 'of a key that was not run, nor by whom its lease is not')
      await store.parked.giveBack([fourth], 'tried', 0)
      assert.equal((await lease(60_000)).crashes, 0)
    },
  },
  {
    name: 'keys that are tried together: of each goes what is done, a key with nothing done stays leased, and one whose lease is lost takes all along',
    async run(fixture) {
      const { store, group } = fixture
      const { partition, lanes } = await owned(fixture)
      const lane = { ...partition, lane: 0 }
      const keys = ['a', 'b', 'c'] as const
      const park = keys.map((key, offset) => ({ record: record(offset, key), reason: 'no', attempts: [], afterMs: 0 }))
      assert.equal(await commit(fixture, lane, batchEnd(lanes[0]!, { park, nextOffset: 3 })), 'committed')
      const { position } = (await store.reload(lane))!
      const queue = keys.map((key, i) => record(3 + i, key))
      assert.equal(await commit(fixture, lane, batchEnd(position, { queue, nextOffset: 6 })), 'committed')
      const all = async (): Promise<LeasedKey[]> => {
        const limits = { keys: 10, beyond: { keys: 10, bytes: 0 }, suspects: 10, leaseMs: 60_000, maxMessages: 10, maxBytes: 10_000 }
        const leased = await store.parked.lease({ group, topicIds: [partition.topicId], ...limits })
        return leased.toSorted((one, other) => Buffer.compare(one.key, other.key))
      }
      const trying = async (some: readonly LeasedKey[], done: readonly number[], effect: string): Promise<string> => {
        const retry = await store.parked.begin(some)
        await fixture.effect(retry.tx, effect)
        const { outcome } = await retry.commit({ done, handled: [], publish: [] })
        await retry.rollBack()
        return outcome
      }
      const waiting = (some: readonly LeasedKey[]): unknown =>
        some.map(({ key, messages }) => [key.toString(), messages.map(({ record: { offset } }) => offset)])

      const [a, b, c] = (await all()) as [LeasedKey, LeasedKey, LeasedKey]
      // In another order than that of their locks.
      assert.equal(await trying([c, b, a], [1, 0, 2], 'first'), 'committed')
      const next = await all()
      assert.deepEqual(waiting(next), [['c', [5]]])
      assert.equal(await trying([b, ...next, a], [1, 1, 1], 'not'), 'moved', 'a is gone')
      assert.equal(await trying([b, c], [1, 1], 'not'), 'moved', 'c is leased anew')
      assert.deepEqual(await fixture.effects(), ['first'])
      assert.equal(await trying([b, ...next], [2, 1], 'second'), 'committed')
      assert.deepEqual(await fixture.effects(), ['first', 'second'])
      assert.deepEqual((await store.reload(lane))?.parkedKeys, [])
    },
  },
  {
    name: 'what is published with a failure of a parked head commits with it, and not where the lease is lost',
    async run(fixture) {
      const { store, group } = fixture
      const { partition, lanes } = await owned(fixture)
      const park = [{ record: record(0, 'k'), reason: 'no', attempts: [], afterMs: 0 }]
      assert.equal(await commit(fixture, { ...partition, lane: 0 }, batchEnd(lanes[0]!, { park })), 'committed')
      const lease = (leaseMs: number): Promise<LeasedKey> => leased(fixture, partition, leaseMs)
      const bury = (key: LeasedKey, id: string): Promise<boolean> => {
        const message = { id, aggregateType: group, aggregateId: 'k', type: 'copy', payload: Buffer.from('{}'), headers: {} }
        return store.parked.failed(key, { do: 'bury', letter: deadLetter(record(0, 'k'), 'skip'), publish: [message] })
      }
      const [lost, kept] = [await lease(0), await lease(60_000)]
      assert.equal(await bury(lost, '00000000-0000-4000-8000-00000000000a'), false)
      assert.deepEqual(await fixture.published(), [])
      assert.equal(await bury(kept, '00000000-0000-4000-8000-00000000000b'), true)
      assert.deepEqual(await fixture.published(), ['00000000-0000-4000-8000-00000000000b'])
      assert.equal(await fixture.deadLetters(), 1)
    },
  },
  {
    name: 'a lease brings so many suspects as are asked for, and beyond some keys only as many as have little waiting',
    async run(fixture) {
      const { store, group } = fixture
      const { partition, lanes } = await owned(fixture)
      const keys = ['a', 'b', 'c', 'd', 'e']
      const park = keys.map((key, offset) => ({ record: record(offset, key), reason: 'no', attempts: [], afterMs: 0 }))
      assert.equal(await commit(fixture, { ...partition, lane: 0 }, batchEnd(lanes[0]!, { park, nextOffset: 5 })), 'committed')
      // Over at once.
      const request = { group, topicIds: [partition.topicId], leaseMs: -1_000, maxMessages: 1, maxBytes: 1_000 }
      const lease = (
        more: number,
        beyond: { readonly keys: number; readonly bytes: number },
        suspects: number,
      ): Promise<readonly LeasedKey[]> => store.parked.lease({ ...request, keys: more, beyond, suspects })
      assert.equal((await lease(4, { keys: 2, bytes: 1 }, 0)).length, 2)
      assert.equal((await lease(4, { keys: 2, bytes: 1 }, 0)).length, 2, 'those whose leases are over are suspects')
      const [fifth, ...others] = await lease(4, { keys: 0, bytes: 1_000_000 }, 0)
      assert.deepEqual([others, fifth?.crashes], [[], 0])
      assert.deepEqual(await lease(4, { keys: 4, bytes: 0 }, 0), [])
      for (const some of [1, 3]) {
        const suspects = await lease(4, { keys: 4, bytes: 0 }, some)
        assert.equal(suspects.length, some)
        assert.ok(suspects.every(({ crashes }) => crashes > 0))
      }
    },
  },
  {
    name: 'a message is noted before it runs, as often as owners do so and do not take it back; another epoch notes, and takes back, nothing',
    async run(fixture) {
      const { store } = fixture
      const { partition, lanes } = await owned(fixture)
      const lane = { ...partition, lane: 0 }
      const marks = async (position: LanePosition, offset: number): Promise<number | undefined> =>
        (await store.mark(lane, position, offset))?.marks
      assert.deepEqual([await marks(lanes[0]!, 5), await marks(lanes[0]!, 5)], [1, 2])
      await store.unmark(lane, lanes[0]!, 5)
      await store.unmark(lane, lanes[0]!, 6)
      const next = await store.takeOver({ partition, lockTimeoutMs })
      await store.unmark(lane, lanes[0]!, 5)
      assert.equal(await marks(lanes[0]!, 5), undefined)
      assert.equal(await marks(next.lanes[0]!, 5), 2)
      for (let n = 0; n < 3; n++) await store.unmark(lane, next.lanes[0]!, 5)
      assert.equal(await marks(next.lanes[0]!, 5), 1)
      assert.equal(await marks(next.lanes[0]!, 6), 1)
    },
  },
  {
    name: 'a dead letter that is skipped parks nothing',
    async run(fixture) {
      const { partition, lanes } = await owned(fixture)
      const lane = { ...partition, lane: 0 }
      assert.equal(await commit(fixture, lane, batchEnd(lanes[0]!, { deadLetters: [deadLetter(record(0, null), 'skip')] })), 'committed')
      assert.deepEqual((await fixture.store.reload(lane))?.parkedKeys, [])
      assert.equal(await fixture.deadLetters(), 1)
    },
  },
  {
    name: 'messages are not queued behind a key that is not parked: it was released',
    async run(fixture) {
      const { partition, lanes } = await owned(fixture)
      const lane = { ...partition, lane: 0 }
      assert.equal(await commit(fixture, lane, batchEnd(lanes[0]!, { queue: [record(0, 'k')] }), 'undone'), 'released')
      assert.deepEqual(await fixture.effects(), [])
      assert.equal((await fixture.store.reload(lane))?.position.nextOffset, 0)
    },
  },
  {
    name: 'idle lanes move forward, never back, and only for their owner',
    async run(fixture) {
      const { partition, lanes } = await owned(fixture)
      const [{ epoch }] = [lanes[0]!]
      const moved = await fixture.store.advance(partition, [
        { lane: 0, epoch, offset: 7, leaderEpoch: null },
        { lane: 1, epoch: epoch - 1, offset: 7, leaderEpoch: null },
      ])
      assert.deepEqual(
        moved.map(({ lane, nextOffset }) => [lane, nextOffset]),
        [[0, 7]],
      )
      assert.deepEqual(await fixture.store.advance(partition, [{ lane: 0, epoch, offset: 5, leaderEpoch: null }]), [])
      assert.equal((await fixture.store.reload({ ...partition, lane: 0 }))?.position.nextOffset, 7)
    },
  },
  {
    name: 'lanes are replaced by others above every epoch, with the highest of each high water; rows that are not as given fence',
    async run(fixture) {
      const { store } = fixture
      const { partition, lanes } = await owned(fixture)
      const water = { a: [1, 5], b: [2, 2] } as const
      await commit(fixture, { ...partition, lane: 0 }, batchEnd(lanes[0]!, { nextOffset: 3, highWater: water }))
      await commit(fixture, { ...partition, lane: 1 }, batchEnd(lanes[1]!, { nextOffset: 3, highWater: { a: [1, 9] } }))
      const at = { offset: 3, leaderEpoch: null }
      assert.equal(await store.replaceLanes(partition, lanes, 3, at), 'fenced')
      const rows = [(await store.reload({ ...partition, lane: 0 }))!.position, (await store.reload({ ...partition, lane: 1 }))!.position]
      const state = await store.replaceLanes(partition, rows, 3, at)
      assert.ok(state !== 'fenced')
      assert.deepEqual(
        state.lanes.map(({ lane, lanes: count, nextOffset }) => [lane, count, nextOffset]),
        [0, 1, 2].map((lane) => [lane, 3, 3]),
      )
      for (const { epoch, highWater } of state.lanes) {
        assert.ok(epoch > Math.max(...rows.map((row) => row.epoch)))
        assert.deepEqual(highWater, { a: [1, 9], b: [2, 2] })
      }
    },
  },
  {
    name: 'the epoch of the leader before a position is kept with it, by batches, idle advances and new lanes, and forgotten where it is not known',
    async run(fixture) {
      const { store } = fixture
      const { partition, lanes } = await owned(fixture)
      assert.deepEqual(await leaderEpochs(fixture, partition), [null, null])
      assert.equal(await commit(fixture, { ...partition, lane: 0 }, batchEnd(lanes[0]!, { nextOffset: 4, leaderEpoch: 0 })), 'committed')
      const [{ epoch }] = [lanes[1]!]
      const [moved] = await store.advance(partition, [{ lane: 1, epoch, offset: 6, leaderEpoch: 2 }])
      assert.equal(moved?.leaderEpoch, 2)
      assert.deepEqual(await leaderEpochs(fixture, partition), [0, 2])
      const taken = await store.takeOver({ partition, lockTimeoutMs })
      assert.deepEqual(
        taken.lanes.map(({ leaderEpoch }) => leaderEpoch),
        [0, 2],
      )
      assert.equal(await commit(fixture, { ...partition, lane: 1 }, batchEnd(taken.lanes[1]!, { nextOffset: 8 })), 'committed')
      assert.deepEqual(await leaderEpochs(fixture, partition), [0, null])
      const { position } = (await store.reload({ ...partition, lane: 1 }))!
      const replaced = await store.replaceLanes(partition, [taken.lanes[0]!, position], 2, { offset: 8, leaderEpoch: 5 })
      assert.ok(replaced !== 'fenced')
      assert.deepEqual(await leaderEpochs(fixture, partition), [5, 5])
    },
  },
]
