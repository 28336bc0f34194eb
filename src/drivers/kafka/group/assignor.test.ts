import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Claimant, assign, nameOf } from './assignor.ts'

const counts = (partitions: Readonly<Record<string, number>>): ReadonlyMap<string, number> => new Map(Object.entries(partitions))
const names = (shares: ReturnType<typeof assign>): Record<string, string[]> =>
  Object.fromEntries([...shares].map(([id, share]) => [id, share.map(nameOf)]))

function member(id: string, owned: readonly string[] = [], generation = 1, topics: readonly string[] = ['t']): Claimant {
  return { id, topics, generation, owned: owned.map((name) => ({ topic: name.split('/')[0]!, partition: Number(name.split('/')[1]) })) }
}

test('the first member gets everything', () => {
  expect(names(assign([member('a')], counts({ t: 3 })))).toEqual({ a: ['t/0', 't/1', 't/2'] })
})

test('a partition that is to change hands is given to nobody until its owner has given it up', () => {
  const first = assign([member('a', ['t/0', 't/1', 't/2', 't/3']), member('b', [], -1)], counts({ t: 4 }))
  expect([first.get('a')!.length, first.get('b')!.length]).toEqual([2, 0])
  const kept = first.get('a')!.map(nameOf)
  const second = assign([member('a', kept, 2), member('b', [], 2)], counts({ t: 4 }))
  expect(names(second)['a']).toEqual(kept)
  expect(second.get('b')!.length).toBe(2)
})

test('of two claims that of the higher generation wins, wherever its member stands', () => {
  expect(names(assign([member('a', ['t/0'], 3), member('b', ['t/0'], 4)], counts({ t: 1 })))).toEqual({ a: [], b: ['t/0'] })
  expect(names(assign([member('a', ['t/0'], 4), member('b', ['t/0'], 3)], counts({ t: 1 })))).toEqual({ a: ['t/0'], b: [] })
})

test('of two claims of the same generation neither wins: both have to give it up first', () => {
  const claims = [member('a', ['t/0']), member('b', ['t/0'])]
  expect(names(assign(claims, counts({ t: 1 })))).toEqual({ a: [], b: [] })
  expect(names(assign([member('a'), claims[1]!], counts({ t: 1 })))).toEqual({ a: [], b: ['t/0'] })
})

test('an old claim that nobody disputes is waited for like any other', () => {
  const shares = assign([member('a', ['t/0', 't/1', 't/2'], 1), member('b', ['t/3'], 9), member('c', [], 9)], counts({ t: 4 }))
  const given = [...shares.get('b')!, ...shares.get('c')!].map(nameOf)
  for (const name of ['t/0', 't/1', 't/2']) expect(given).not.toContain(name)
})

test('members get partitions of their own topics only, and give up what they name no more', () => {
  const members = [member('a', ['u/0'], 1, ['t']), member('b', [], 1, ['t', 'u'])]
  expect(names(assign(members, counts({ t: 2, u: 2 })))).toEqual({ a: ['t/0', 't/1'], b: ['u/1'] })
})

test('claims of partitions that do not exist any more are passed over', () => {
  expect(names(assign([member('a', ['gone/0', 't/9'])], counts({ t: 1 })))).toEqual({ a: ['t/0'] })
})

test('the order in which members and topics are listed does not matter', () => {
  const members = [member('c', ['t/0']), member('a'), member('b')]
  const forward = names(assign(members, counts({ t: 4, u: 1 })))
  expect(names(assign(members.toReversed(), new Map([...counts({ t: 4, u: 1 })].reverse())))).toEqual(forward)
})

test('whoever comes and goes, a few rounds later everything is shared evenly, and nothing had two owners on the way', () => {
  const change = fc.record({ member: fc.nat({ max: 4 }), leaves: fc.boolean() })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 30 }), fc.integer({ min: 1, max: 9 }), (changes, count) => {
      const owned = new Map<string, readonly string[]>([['m9', []]])
      let generation = 0
      const rebalance = (): boolean => {
        generation += 1
        const before = new Map(owned)
        const shares = assign(
          [...owned].map(([id, mine]) => member(id, mine, generation)),
          counts({ t: count }),
        )
        for (const [id, share] of shares) {
          const mine = share.map(nameOf)
          for (const [other, theirs] of before) if (other !== id) expect(theirs.filter((name) => mine.includes(name))).toEqual([])
          owned.set(id, mine)
        }
        return [...before].some(([id, mine]) => owned.get(id)!.join() !== mine.join())
      }
      for (const { member: number, leaves } of changes) {
        if (leaves) owned.delete(`m${number}`)
        else owned.set(`m${number}`, owned.get(`m${number}`) ?? [])
        rebalance()
      }
      let rounds = 0
      while (rebalance()) expect((rounds += 1)).toBeLessThan(4)
      const sizes = [...owned.values()].map(({ length }) => length)
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1)
      expect([...owned.values()].flat().length).toBe(count)
    }),
  )
})

test('a thousand partitions among fifty members are shared in well under a second', () => {
  const shares = assign(
    Array.from({ length: 50 }, (_, i) => member(`m${i}`, i === 0 ? Array.from({ length: 1000 }, (_, p) => `t/${p}`) : [])),
    counts({ t: 1000 }),
  )
  expect(shares.get('m0')!.length).toBe(20)
}, 5_000)
