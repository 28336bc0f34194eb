import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { AssignedPartition } from '../port.ts'
import { type GroupState, type Heartbeat, type HeartbeatReply, heartbeat, partitionKey } from './group-state.ts'

const partitions = (count: number): AssignedPartition[] =>
  Array.from({ length: count }, (_, partition) => ({ topic: 't', topicId: 'id', partition }))
const joining = { clientId: null, topics: ['t'], sessionTimeoutMs: 100, drainTimeoutMs: 1_000 }

/** A group of four partitions, driven by hand. */
function group(existing = partitions(4)) {
  let state: GroupState = { members: [], partitions: [] }
  let now = 0
  return {
    pass: (ms: number) => void (now += ms),
    beat(memberId: string, rest: Partial<Heartbeat> = {}): Extract<HeartbeatReply, { status: 'member' }> {
      const done = heartbeat(state, { now, memberId, released: [], claim: true, ...rest }, existing)
      state = done.state
      if (done.reply.status !== 'member') throw new Error('unknown member')
      return done.reply
    },
    knows: (memberId: string): boolean =>
      heartbeat(state, { now, memberId, released: [], claim: false }, existing).reply.status === 'member',
  }
}

const numbers = (list: readonly AssignedPartition[]): number[] => list.map(({ partition }) => partition)

test('the first member owns everything at once', () => {
  expect(numbers(group().beat('a', { join: joining }).owned)).toEqual([0, 1, 2, 3])
})

test('a second member waits until the first has released, and then claims', () => {
  const { beat } = group()
  beat('a', { join: joining })
  expect(beat('b', { join: joining })).toMatchObject({ owned: [], waiting: true })
  const { owned, revoking } = beat('a')
  expect([owned.length, revoking.length]).toEqual([2, 2])
  expect(beat('b').owned).toEqual([])
  expect(beat('a', { released: revoking })).toMatchObject({ revoking: [], waiting: false })
  expect(beat('b')).toMatchObject({ owned: revoking, waiting: false })
})

test('nothing is claimed by a member that is draining still', () => {
  const { beat } = group()
  expect(beat('a', { join: joining, claim: false })).toMatchObject({ owned: [], waiting: true })
})

test('a silent member is forgotten after its session time-out, not before, and its partitions are free', () => {
  const { beat, pass, knows } = group()
  beat('a', { join: { ...joining, sessionTimeoutMs: 300 } })
  pass(300)
  expect(beat('b', { join: { ...joining, sessionTimeoutMs: 300 } }).owned).toEqual([])
  pass(1)
  expect(numbers(beat('b').owned)).toEqual([0, 1, 2, 3])
  expect(knows('a')).toBe(false)
})

test('a member does not expire itself by being late, as long as nobody else looked', () => {
  const { beat, pass } = group()
  beat('a', { join: joining })
  pass(100_000)
  expect(beat('a').owned).toHaveLength(4)
})

test('a drain past its deadline is over: the partition is free, and its owner no longer has it', () => {
  const { beat, pass } = group()
  const patient = { ...joining, sessionTimeoutMs: 1e9 }
  beat('a', { join: patient })
  beat('b', { join: patient })
  pass(999)
  expect(beat('b').owned).toEqual([])
  pass(1)
  expect(beat('b').owned).toHaveLength(2)
  expect(beat('a')).toMatchObject({ revoking: [] })
})

test('a member that leaves gives everything back', () => {
  const { beat } = group()
  beat('a', { join: joining })
  beat('b', { join: joining })
  expect(() => beat('a', { leaving: true })).toThrow('unknown member')
  expect(beat('b').owned).toHaveLength(4)
})

test('rows that do not change are the same objects, so that a store writes only what did', () => {
  const first = heartbeat(
    { members: [], partitions: [] },
    { now: 0, memberId: 'a', join: joining, released: [], claim: true },
    partitions(3),
  ).state
  const second = heartbeat(first, { now: 1, memberId: 'a', released: [], claim: true }, partitions(3)).state
  expect(second.partitions.every((row, i) => row === first.partitions[i])).toBe(true)
})

test('whatever members do, a partition has one reader at a time unless a deadline passed, and in the end each has exactly one', () => {
  const action = fc.record({
    member: fc.integer({ min: 0, max: 3 }),
    what: fc.constantFrom('beat', 'beat', 'beat', 'drained', 'leave'),
    pass: fc.integer({ min: 0, max: 20 }),
  })
  fc.assert(
    fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
      const existing = partitions(5)
      let state: GroupState = { members: [], partitions: [] }
      let now = 0
      // What each member reads: what it was given, until it says it is drained. Sessions outlive the run, so no deadline passes.
      const reads = new Map<string, Map<string, AssignedPartition>>()
      const patient = { ...joining, sessionTimeoutMs: 1e9, drainTimeoutMs: 1e9 }
      const step = (id: string, release: boolean, leaving = false): void => {
        const mine = reads.get(id)
        const draining = state.partitions.filter(({ owner, target }) => owner === id && target !== id)
        const released = release ? draining : []
        for (const one of released) mine?.delete(partitionKey(one))
        const done = heartbeat(
          state,
          { now, memberId: id, released, leaving, claim: true, ...(mine === undefined ? { join: patient } : {}) },
          existing,
        )
        state = done.state
        if (leaving) return void reads.delete(id)
        if (done.reply.status !== 'member') throw new Error('unknown member')
        const next = mine ?? new Map<string, AssignedPartition>()
        for (const one of done.reply.owned) next.set(partitionKey(one), one)
        reads.set(id, next)
        const all = [...reads.values()].flatMap((held) => [...held.keys()])
        expect(new Set(all).size).toBe(all.length)
      }
      for (const { member, what, pass } of actions) {
        now += pass
        const id = `m${member}`
        if (what !== 'leave') step(id, what === 'drained')
        else if (reads.has(id)) step(id, true, true)
      }
      if (reads.size === 0) step('m0', true)
      for (let round = 0; round < 3; round++) for (const id of [...reads.keys()]) step(id, true)
      expect([...reads.values()].flatMap((held) => [...held.keys()]).sort()).toEqual(existing.map(partitionKey))
    }),
  )
})
