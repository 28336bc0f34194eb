import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Candidate, type Placed, balance } from './balance.ts'

const members = (ids: string, topics = ['t']): Candidate[] => [...ids].map((id) => ({ id, topics }))
const placed = (targets: readonly (string | null)[], topic = 't'): Placed[] => targets.map((target) => ({ topic, target, owner: target }))

test('partitions without a reader are dealt out evenly', () => {
  expect(balance(members('ab'), placed([null, null, null, null]))).toEqual(['a', 'b', 'a', 'b'])
})

test('a member that joins takes only what evens out, and nothing else moves', () => {
  const before = ['a', 'a', 'a', 'b', 'b', 'b']
  const after = balance(members('abc'), placed(before))
  expect(after.filter((id) => id === 'c')).toHaveLength(2)
  expect(after.every((id, i) => id === 'c' || id === before[i])).toBe(true)
})

test('what a member leaves behind goes to the others, and they keep theirs', () => {
  expect(
    balance(members('ac'), placed(['a', 'b', 'c', 'b', 'a', 'c'])).filter((id, i) => ['a', 'b', 'c', 'b', 'a', 'c'][i] === id),
  ).toHaveLength(4)
})

test('one that its target has not begun to read is moved rather than one that is being read', () => {
  const partitions = placed(['a', 'a']).map((one, i) => (i === 1 ? { ...one, owner: null } : one))
  expect(balance(members('ab'), partitions)).toEqual(['a', 'b'])
})

test('a partition whose topic no member reads has no target', () => {
  expect(balance(members('a', ['other']), placed(['a']))).toEqual([null])
  expect(balance([], placed(['a']))).toEqual([null])
})

test('members get partitions of their own topics only, as even as those allow', () => {
  const uneven = [...members('a', ['t']), ...members('b', ['t', 'u'])]
  expect(balance(uneven, [...placed([null, null]), ...placed([null, null], 'u')])).toEqual(['a', 'a', 'b', 'b'])
})

test('members of the same topics never differ by more than one partition, whatever was before, and a balanced state stays', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.array(fc.option(fc.integer({ min: 0, max: 12 })), { maxLength: 40 }),
      (count, targets) => {
        const all = members('abcdefghi'.slice(0, count))
        const first = balance(all, placed(targets.map((at) => (at === null ? null : 'abcdefghijklm'[at]!))))
        const sizes = all.map(({ id }) => first.filter((target) => target === id).length)
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1)
        expect(balance(all, placed(first))).toEqual(first)
      },
    ),
  )
})
