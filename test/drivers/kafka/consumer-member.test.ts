import { expect, test } from 'vitest'
import { ConsumerMember } from '../../../src/drivers/kafka/group/consumer-member.ts'
import { DrivenProtocol, settings } from './support/driven-protocol.ts'

const beat = 'consumer-heartbeat'
const given = (...numbers: readonly number[]) => [{ topicId: 'id', partitions: numbers }]
const well = { error: 0, said: null, memberEpoch: 1, intervalMs: 5_000, assignment: null }

function start(): DrivenProtocol {
  return new DrivenProtocol((now) => new ConsumerMember({ ...settings, sessionTimeoutMs: 45_000 }, now, 'me'))
}

/** A member that was given these. */
function member(...numbers: readonly number[]): DrivenProtocol {
  const one = start()
  one.answer(beat, { ...well, assignment: given(...numbers) })
  one.describe()
  return one
}

test('a member joins with epoch 0 and its own id, and is assigned what the coordinator says, after a look at the topics', () => {
  const one = start()
  expect(one.protocol.identity).toBeNull()
  expect(one.answer(beat, { ...well, assignment: given(0, 2) })).toMatchObject({ memberId: 'me', memberEpoch: 0, owned: [] })
  expect(one.told).toEqual(['accepted'])
  one.describe()
  expect(one.told).toEqual(['accepted', 'assigned t/0 t/2'])
  expect(one.protocol.identity).toEqual({ memberId: 'me', generation: 1 })
})

test('heartbeats come at the interval that the coordinator asks for, and at least each second while partitions are on the move', () => {
  const one = member(0)
  const beats: number[] = []
  while (one.now < 30_000) {
    one.pass(100)
    if (one.open().includes('describe')) one.describe()
    if (!one.open().includes(beat)) continue
    one.answer(beat, well)
    beats.push(one.now)
  }
  expect(beats.filter((at) => at <= 10_000)).toHaveLength(10)
  expect(beats.filter((at) => at > 11_000)).toEqual([15_000, 20_000, 25_000, 30_000])
})

test('what is taken away is drained first, named as owned until then, and given up right after', () => {
  const one = member(0, 1)
  one.pass(1_000)
  one.answer(beat, { ...well, assignment: given(0) })
  one.describe()
  expect(one.told.at(-1)).toBe('revoke t/1')
  one.pass(1_000)
  expect(one.answer(beat, { ...well, assignment: given(0) }).owned).toHaveLength(2)
  one.drained()
  expect(one.request(beat).owned).toMatchObject([{ partition: 0 }])
})

test('a drain that ends while a heartbeat is under way is made known right after it', () => {
  const one = member(0, 1)
  one.pass(1_000)
  one.answer(beat, { ...well, assignment: given(0) })
  one.describe()
  one.pass(1_000)
  one.drained()
  one.answer(beat, { ...well, assignment: given(0) })
  expect(one.request(beat).owned).toMatchObject([{ partition: 0 }])
})

test('an assignment is not acted upon once a further heartbeat is under way: what that one does not name may be given to others', () => {
  const one = start()
  one.answer(beat, { ...well, assignment: given(0) })
  one.pass(1_000)
  expect(one.open()).toEqual(['describe', beat])
  one.describe()
  expect(one.told).toEqual(['accepted'])
  one.break(beat)
  one.pass(100)
  one.answer(beat, { ...well, assignment: [] })
  one.pass(3_000)
  expect(one.told).toEqual(['accepted'])
})

test('a join whose reply was lost is sent again under the same id', () => {
  const one = start()
  one.break(beat)
  one.pass(100)
  expect(one.request(beat)).toMatchObject({ memberId: 'me', memberEpoch: 0 })
})

test.each([
  ['UNKNOWN_MEMBER_ID', 25],
  ['GROUP_ID_NOT_FOUND', 69],
] as const)('%s: everything is lost, and the member joins anew', (_, error) => {
  const one = member(0, 1)
  one.pass(1_000)
  one.answer(beat, { ...well, error })
  expect(one.told.at(-1)).toBe('lost t/0 t/1')
  expect(one.request(beat)).toMatchObject({ memberEpoch: 0, owned: [] })
})

test('FENCED_MEMBER_EPOCH: everything is lost; the member leaves, whatever the coordinator thinks of that, and joins anew', () => {
  const one = member(0)
  one.pass(1_000)
  one.answer(beat, { ...well, error: 110 })
  expect(one.told.at(-1)).toBe('lost t/0')
  expect(one.answer(beat, { ...well, error: 25 })).toMatchObject({ memberEpoch: -1, owned: [] })
  expect(one.request(beat)).toMatchObject({ memberEpoch: 0 })
})

test('without a heartbeat that succeeds a member gives everything up by its own clock, and says so when it is heard again', () => {
  const one = member(0)
  while (one.now < 45_000) {
    one.pass(500)
    if (one.open().includes(beat)) one.break(beat)
  }
  expect(one.told.at(-1)).toBe('lost t/0')
  one.pass(1_000)
  expect(one.request(beat)).toMatchObject({ memberEpoch: 1, owned: [] })
  one.answer(beat, { ...well, assignment: given(0) })
  one.describe()
  expect(one.told.at(-1)).toBe('assigned t/0')
})

test('a deleted topic is lost and not drained, also where the coordinator takes it away first', () => {
  const one = member(0)
  one.topics = []
  one.pass(1_000)
  one.answer(beat, { ...well, assignment: [] })
  one.describe()
  expect(one.told.at(-1)).toBe('lost t/0')
})

test('a topic that the asked broker does not know yet is asked for again soon', () => {
  const one = start()
  const topics = one.topics
  one.topics = []
  one.answer(beat, { ...well, assignment: given(0) })
  one.describe()
  one.topics = topics
  one.pass(300)
  one.describe()
  expect(one.told.at(-1)).toBe('assigned t/0')
})

test.each([
  [35, 'CONFIG_INVALID'],
  [30, 'BROKER_AUTHORIZATION'],
  [69, 'CONFIG_INVALID'],
  [111, 'BROKER_FAILED'],
  [112, 'BROKER_FAILED'],
] as const)('error code %d to a join ends the membership with %s', (error, code) => {
  const one = start()
  one.answer(beat, { ...well, error })
  expect(one.told).toEqual([`failed ${code}`])
})

test('leaving drains what is held, beats on meanwhile, then leaves with epoch -1', () => {
  const one = member(0)
  one.happened({ type: 'leave' })
  expect(one.told.at(-1)).toBe('revoke t/0')
  one.pass(1_000)
  expect(one.answer(beat, { ...well, assignment: given(0, 1) }).owned).toHaveLength(1)
  one.drained()
  expect(one.told).toHaveLength(3)
  expect(one.answer(beat, well)).toMatchObject({ memberEpoch: -1, owned: [] })
  expect(one.told.at(-1)).toBe('left')
})
