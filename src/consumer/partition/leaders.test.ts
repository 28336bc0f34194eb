import { expect, test } from 'vitest'
import type { LeaderRun } from '../../message/port.ts'
import { contradiction, joined, leaderBefore, leadersOf, noLeaders } from './leaders.ts'

const run = (leaderEpoch: number, from: number, to: number): LeaderRun => ({ leaderEpoch, from, to })

test('the leader before an offset is the one of the record there, and of the gaps within its own stretch', () => {
  const leaders = [run(1, 0, 10), run(3, 10, 20)]
  expect([0, 1, 10, 11, 20, 21].map((offset) => leaderBefore(leaders, offset))).toEqual([null, 1, 1, 3, 3, null])
})

test('in a gap between two leaders it is not known who wrote there, so that neither is taken for it', () => {
  expect(leaderBefore([run(1, 0, 10), run(2, 15, 20)], 15)).toBeNull()
  expect(leaderBefore([run(1, 0, 10), run(2, 15, 20)], 10)).toBe(1)
})

test('stretches of one leader become one, over gaps, too', () => {
  expect(joined([run(1, 0, 10)], [run(1, 12, 15), run(2, 15, 20)], 0)).toEqual([run(1, 0, 15), run(2, 15, 20)])
})

test('what no position needs any more is forgotten, but never the last', () => {
  const leaders = [run(1, 0, 10), run(2, 10, 20)]
  expect(joined(leaders, [run(3, 20, 30)], 10)).toEqual([run(2, 10, 20), run(3, 20, 30)])
  expect(joined(leaders, [run(3, 20, 30)], 40)).toEqual([run(3, 20, 30)])
})

test('where the broker keeps no epochs nothing is made', () => {
  expect(joined(noLeaders, noLeaders, 0)).toBe(noLeaders)
  expect(leadersOf({ offset: 5, leaderEpoch: null })).toBe(noLeaders)
})

test('a stored place knows its own epoch', () => {
  expect(leaderBefore(leadersOf({ offset: 5, leaderEpoch: 7 }), 5)).toBe(7)
})

test('only a later leader that wrote before the place contradicts it', () => {
  const leaders = [run(1, 0, 10), run(3, 12, 20)]
  expect(contradiction(leaders, { offset: 15, leaderEpoch: 2 })).toEqual(run(3, 12, 20))
  expect(contradiction(leaders, { offset: 12, leaderEpoch: 2 })).toBeNull()
  expect(contradiction(leaders, { offset: 15, leaderEpoch: 3 })).toBeNull()
  expect(contradiction(leaders, { offset: 15, leaderEpoch: null })).toBeNull()
})
