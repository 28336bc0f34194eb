import { expect, test } from 'vitest'
import { ClassicMember } from '../../../src/drivers/kafka/group/classic-member.ts'
import { DrivenProtocol, partitions, settings } from './support/driven-protocol.ts'

const joined = { error: 0, memberId: 'm1', generation: 1, members: null }

function start(): DrivenProtocol {
  return new DrivenProtocol((now) => new ClassicMember(settings, now))
}

/** A member that was given these, and is no leader. */
function member(...numbers: readonly number[]): DrivenProtocol {
  const one = start()
  one.answer('join', { error: 79, memberId: 'm1', generation: -1, members: null })
  one.answer('join', joined)
  one.describe()
  one.answer('sync', { error: 0, partitions: partitions(...numbers) })
  return one
}

/** The group begins to rebalance; the next beat says so. */
function rebalance(one: DrivenProtocol): void {
  one.pass(1_000)
  one.answer('heartbeat', { error: 27 })
}

test('a member joins with the id it is given, syncs, and is assigned what the leader gave it, with the id of the topic', () => {
  const one = start()
  expect(one.answer('join', { error: 79, memberId: 'm1', generation: -1, members: null })).toMatchObject({ memberId: '', owned: [] })
  expect(one.told).toEqual(['accepted'])
  expect(one.answer('join', joined)).toMatchObject({ memberId: 'm1', topics: ['t'], generation: -1 })
  one.describe()
  expect(one.answer('sync', { error: 0, partitions: partitions(0, 1) })).toMatchObject({ memberId: 'm1', generation: 1 })
  expect(one.told).toEqual(['accepted', 'assigned t/0 t/1'])
  expect(one.protocol.identity).toEqual({ memberId: 'm1', generation: 1 })
})

test('the leader shares out the partitions of all members, of topics too that it does not read itself', () => {
  const one = start()
  one.topics = [...one.topics, { name: 'u', id: 'id of u', partitions: 1 }]
  one.answer('join', { error: 79, memberId: 'm1', generation: -1, members: null })
  const claims = { owned: [], generation: -1 }
  one.answer('join', {
    ...joined,
    members: [
      { id: 'm1', topics: ['t'], ...claims },
      { id: 'm2', topics: ['t', 'u'], ...claims },
    ],
  })
  one.describe()
  const shares = one.request('sync').shares
  expect([...shares].map(([id, share]) => [id, share.length])).toEqual([
    ['m1', 2],
    ['m2', 3],
  ])
})

test('in a rebalance a member keeps what it has, says so, drains only what it is not given again, and then joins once more', () => {
  const one = member(0, 1, 2)
  rebalance(one)
  expect(one.answer('join', { ...joined, generation: 2 })).toMatchObject({ memberId: 'm1', owned: partitions(0, 1, 2), generation: 1 })
  one.describe()
  one.answer('sync', { error: 0, partitions: partitions(0, 1) })
  expect(one.told.slice(1)).toEqual(['assigned t/0 t/1 t/2', 'revoke t/2'])
  expect(one.open()).not.toContain('join')
  one.drained()
  expect(one.request('join')).toMatchObject({ owned: partitions(0, 1), generation: 2 })
})

test('a member that has to join again while it drains names what it drains as owned, and what it was given meanwhile waits', () => {
  const one = member(0, 1)
  rebalance(one)
  one.answer('join', { ...joined, generation: 2 })
  one.describe()
  one.answer('sync', { error: 0, partitions: partitions(0) })
  rebalance(one)
  expect(one.answer('join', { ...joined, generation: 3 }).owned).toEqual(
    expect.arrayContaining([...partitions(0), ...partitions(1)].map((p) => expect.objectContaining(p))),
  )
  one.describe()
  one.answer('sync', { error: 0, partitions: partitions(0, 3) })
  expect(one.told.at(-1)).toBe('revoke t/1')
  one.drained()
  expect(one.told.at(-1)).toBe('assigned t/3')
  expect(one.request('join').owned).toHaveLength(2)
})

test('a drain that ends while a rebalance is under way is made known by a rejoin after it', () => {
  const one = member(0, 1)
  rebalance(one)
  one.answer('join', { ...joined, generation: 2 })
  one.describe()
  one.answer('sync', { error: 0, partitions: partitions(0) })
  rebalance(one)
  one.drained()
  one.answer('join', { ...joined, generation: 3 })
  one.describe()
  one.answer('sync', { error: 0, partitions: partitions(0) })
  expect(one.request('join').owned).toMatchObject(partitions(0))
})

test('a drain is not waited for past its deadline: the partitions are lost and given up, and its end means nothing any more', () => {
  const one = member(0, 1)
  rebalance(one)
  one.answer('join', { ...joined, generation: 2 })
  one.describe()
  one.answer('sync', { error: 0, partitions: partitions(0) })
  for (let waited = 0; waited < 5; waited++) {
    one.pass(1_000)
    if (one.open().includes('heartbeat')) one.answer('heartbeat', { error: 0 })
  }
  expect(one.told.slice(2)).toEqual(['revoke t/1', 'lost t/1'])
  expect(one.request('join').owned).toMatchObject(partitions(0))
  one.drained()
  expect(one.told).toHaveLength(4)
})

test('heartbeats go on while it waits for the others to join, for the leader, and for its listener to drain', () => {
  const one = member(0, 1)
  rebalance(one)
  one.pass(1_000)
  expect(one.answer('heartbeat', { error: 27 })).toMatchObject({ generation: 1 })
  one.answer('join', { ...joined, generation: 2 })
  one.describe()
  one.pass(1_000)
  expect(one.answer('heartbeat', { error: 0 })).toMatchObject({ generation: 2 })
  one.answer('sync', { error: 0, partitions: [] })
  one.pass(1_000)
  expect(one.answer('heartbeat', { error: 0 })).toMatchObject({ generation: 2 })
  expect(one.told.at(-1)).toBe('revoke t/0 t/1')
})

test('a rebalance that begins anew before the leader has spoken is joined at once', () => {
  const one = member(0)
  rebalance(one)
  one.answer('join', { ...joined, generation: 2 })
  one.describe()
  one.answer('sync', { error: 27, partitions: [] })
  expect(one.request('join')).toMatchObject({ owned: partitions(0), generation: 1 })
})

test('a generation that is over for a heartbeat, but not for the join whose reply is on its way, is nothing', () => {
  const one = member(0)
  rebalance(one)
  one.pass(1_000)
  one.answer('heartbeat', { error: 22 })
  expect(one.told.at(-1)).toBe('assigned t/0')
})

test.each([
  ['ILLEGAL_GENERATION', 22, 'm1'],
  ['UNKNOWN_MEMBER_ID', 25, ''],
  ['FENCED_INSTANCE_ID', 82, ''],
] as const)('%s: everything is lost, and the member joins anew', (_, error, memberId) => {
  const one = member(0, 1)
  one.pass(1_000)
  one.answer('heartbeat', { error })
  expect(one.told.at(-1)).toBe('lost t/0 t/1')
  expect(one.request('join')).toMatchObject({ memberId, owned: [], generation: -1 })
  expect(one.protocol.identity).toBeNull()
})

test('without a heartbeat that succeeds a member gives everything up by its own clock, counted from the last one it sent', () => {
  const one = member(0, 1)
  one.pass(3_000)
  one.answer('heartbeat', { error: 0 })
  // That one was sent at 1,000.
  while (one.now < 9_999) {
    one.pass(Math.min(250, 9_999 - one.now))
    if (one.open().includes('heartbeat')) one.break('heartbeat')
  }
  expect(one.told.at(-1)).toBe('assigned t/0 t/1')
  one.pass(1)
  expect(one.told.at(-1)).toBe('lost t/0 t/1')
  one.pass(1_000)
  expect(one.request('join')).toMatchObject({ memberId: 'm1', owned: [] })
})

test('a process that was stopped for longer than its session loses everything before it does anything else', () => {
  const one = member(0)
  one.pass(1_000)
  one.now += 60_000
  one.answer('heartbeat', { error: 0 })
  expect(one.told.at(-1)).toBe('lost t/0')
})

test('an assignment that came too late is not taken', () => {
  const one = start()
  one.answer('join', { error: 79, memberId: 'm1', generation: -1, members: null })
  one.answer('join', joined)
  one.describe()
  one.now += 60_000
  one.answer('sync', { error: 0, partitions: partitions(0) })
  expect(one.told).toEqual(['accepted'])
  expect(one.open()).toContain('join')
})

test.each([14, 15, 16])('a coordinator that is elsewhere (%d) is looked for, later and later, and nothing is lost', (error) => {
  const one = member(0)
  one.pass(1_000)
  one.answer('heartbeat', { error })
  expect(one.done).toEqual(['forget coordinator'])
  expect(one.open()).not.toContain('heartbeat')
  one.pass(100)
  one.answer('heartbeat', { error })
  one.pass(100)
  expect(one.open()).not.toContain('heartbeat')
  one.pass(100)
  one.answer('heartbeat', { error: 0 })
  expect(one.told.at(-1)).toBe('assigned t/0')
})

test('when the coordinator cannot be reached, what waits there is given up and joined again', () => {
  const one = member(0)
  rebalance(one)
  one.pass(1_000)
  one.break('heartbeat')
  expect(one.done).toEqual(['forget coordinator', 'drop'])
  one.pass(100)
  expect(one.open().filter((api) => api === 'join')).toHaveLength(2)
  // The reply to the one that was given up.
  one.answer('join', { ...joined, generation: 7 })
  expect(one.open().filter((api) => api === 'describe')).toEqual([])
})

test.each([
  [23, 'CONFIG_INVALID'],
  [26, 'CONFIG_INVALID'],
  [30, 'BROKER_AUTHORIZATION'],
  [81, 'BROKER_FAILED'],
] as const)('error code %d ends the membership with %s', (error, code) => {
  const one = member(0)
  rebalance(one)
  one.answer('join', { ...joined, error })
  expect(one.told.slice(2)).toEqual([`failed ${code}`])
  one.pass(60_000)
  expect(one.told).toHaveLength(3)
  expect(one.protocol.identity).toBeNull()
})

test('a first join for which there is no coordinator is given up after thirty seconds', () => {
  const one = start()
  while (one.now < 40_000 && one.told.length === 0) {
    if (one.open().includes('join')) one.answer('join', { ...joined, error: 15 })
    one.pass(100)
  }
  expect(one.told).toEqual(['failed BROKER_UNREACHABLE'])
  expect(one.now).toBeGreaterThanOrEqual(30_000)
})

test('a topic that is deleted is lost, not drained; made anew it is assigned with its new id', () => {
  const one = member(0, 1)
  one.topics = []
  one.pass(3_000)
  one.describe()
  expect(one.told.at(-1)).toBe('lost t/0 t/1')
  one.topics = [{ name: 't', id: 'another', partitions: 1 }]
  one.answer('heartbeat', { error: 0 })
  one.pass(3_000)
  one.describe()
  expect(one.told.at(-1)).toBe('assigned t/0')
})

test('the leader rebalances when a topic has got more partitions, and other members leave that to it', () => {
  for (const leads of [true, false]) {
    const one = start()
    one.answer('join', { error: 79, memberId: 'm1', generation: -1, members: null })
    one.answer('join', { ...joined, members: leads ? [{ id: 'm1', topics: ['t'], owned: [], generation: -1 }] : null })
    one.describe()
    one.answer('sync', { error: 0, partitions: partitions(0) })
    one.topics = [{ name: 't', id: 'id', partitions: 5 }]
    one.pass(3_000)
    one.describe()
    expect(one.open().includes('join')).toBe(leads)
  }
})

test('leaving drains what is held, beats on meanwhile, then says goodbye', () => {
  const one = member(0, 1)
  one.happened({ type: 'leave' })
  expect(one.told.at(-1)).toBe('revoke t/0 t/1')
  one.pass(1_000)
  one.answer('heartbeat', { error: 0 })
  expect(one.open()).not.toContain('leave')
  one.drained()
  expect(one.answer('leave', { error: 0 })).toMatchObject({ memberId: 'm1' })
  expect(one.told.at(-1)).toBe('left')
})

test('a member that leaves does not hold up a rebalance: it takes part, keeps what it drains, and wants nothing more', () => {
  const one = member(0, 1)
  one.happened({ type: 'leave' })
  rebalance(one)
  const { topics, owned } = one.answer('join', { ...joined, generation: 2 })
  expect([topics, owned.length]).toEqual([[], 2])
  one.describe()
  one.answer('sync', { error: 0, partitions: partitions(3) })
  expect(one.told.slice(2)).toEqual(['revoke t/0 t/1'])
})

test('leaving does not wait for a drain past its deadline, nor for a broker that is away', () => {
  const one = member(0)
  one.happened({ type: 'leave' })
  one.pass(5_000)
  expect(one.told.at(-1)).toBe('lost t/0')
  one.break('leave')
  one.pass(2_999)
  expect(one.told.at(-1)).toBe('lost t/0')
  one.pass(1)
  expect(one.told.at(-1)).toBe('left')
  expect(one.protocol.wakeAt).toBe(Infinity)
})

test('a poke during a heartbeat leads to another one right after it, and to a look at the topics', () => {
  const one = member(0)
  one.pass(1_000)
  one.happened({ type: 'poke' })
  expect(one.open()).toEqual(['heartbeat', 'describe'])
  one.answer('heartbeat', { error: 0 })
  expect(one.open()).toEqual(['describe', 'heartbeat'])
})
