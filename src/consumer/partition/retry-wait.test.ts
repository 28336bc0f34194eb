import { expect, test } from 'vitest'
import type { Fetched } from '../../message/port.ts'
import { joined } from './leaders.ts'
import { cutAtDue } from './retry-wait.ts'

function found(...timestamps: readonly number[]): Fetched {
  const of = { topic: 't', partition: 0, key: null, value: null, headers: [] }
  const records = timestamps.map((timestamp, i) => ({ ...of, offset: 10 + i, timestamp }))
  return { topic: 't', partition: 0, records, nextOffset: 20, endOffset: 30 }
}

test('what is due is told at once, the rest when its first record is', () => {
  const { due, later } = cutAtDue(found(100, 200, 300), 50, 250)
  expect(due).toMatchObject({ nextOffset: 12, endOffset: 30, records: [{ offset: 10 }, { offset: 11 }] })
  expect(later).toMatchObject({ from: 12, inMs: 100, found: { nextOffset: 20, records: [{ offset: 12 }] } })
  expect(cutAtDue(later!.found, 50, 350)).toEqual({ due: later!.found, later: null })
})

test('all is due, or nothing', () => {
  expect(cutAtDue(found(1, 2), 0, 2).later).toBeNull()
  expect(cutAtDue(found(), 1_000, 0).later).toBeNull()
  expect(cutAtDue(found(5), 1_000, 5)).toMatchObject({ due: { records: [], nextOffset: 10 }, later: { from: 10, inMs: 1_000 } })
})

test('nobody waits for longer than a minute without looking again', () => {
  expect(cutAtDue(found(0), 40 * 24 * 3_600_000, 0).later!.inMs).toBe(60_000)
})

test('of the leaders those are told who wrote what is due, the others with the rest', () => {
  const leaders = [
    { leaderEpoch: 5, from: 8, to: 11 },
    { leaderEpoch: 6, from: 11, to: 20 },
    { leaderEpoch: 7, from: 20, to: 25 },
  ]
  const { due, later } = cutAtDue({ ...found(100, 200, 300), leaders }, 50, 250)
  expect(due.leaders).toEqual([leaders[0], { ...leaders[1], to: 12 }])
  expect(later!.found.leaders).toEqual(leaders.slice(1))
  // However often it is cut, each run is known once.
  const known = joined(joined([], due.leaders!, 0), later!.found.leaders!, 0)
  expect(known).toEqual(leaders)
})
