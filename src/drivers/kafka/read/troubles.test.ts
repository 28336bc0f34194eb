import { expect, test } from 'vitest'
import { TidemarkError } from '../../../errors.ts'
import { Troubles } from './troubles.ts'

const away = new TidemarkError('BROKER_UNREACHABLE', 'away')
const keys = ['a', 'b', 'c']

function troubled(): Troubles {
  const troubles = new Troubles()
  for (const key of keys) troubles.note(key, away, 0)
  return troubles
}

test('a trouble is told of when it has lasted, and again when it goes on, however often it is noted', () => {
  const troubles = troubled()
  expect(troubles.due(keys, 9_000)).toBeNull()
  expect(troubles.due(keys, 10_000)).toBe(away)
  troubles.note('a', away, 11_000)
  expect(troubles.due(keys, 19_000)).toBeNull()
  expect(troubles.due(keys, 20_000)).toBe(away)
})

test('what has lasted in several partitions is told of once, and then there is time for a try', () => {
  const troubles = troubled()
  expect(troubles.due(keys, 10_000)).toBe(away)
  for (const nowMs of [13_000, 16_000, 19_000]) expect(troubles.due(keys, nowMs)).toBeNull()
})

test('what no later try mends is told of at once', () => {
  const troubles = troubled()
  const gone = new TidemarkError('TOPIC_MISMATCH', 'gone')
  troubles.note('c', gone, 100)
  expect(troubles.due(keys, 100)).toBe(gone)
})

test('a partition that was read has no trouble', () => {
  const troubles = troubled()
  for (const key of keys) troubles.end(key)
  expect([troubles.due(keys, 60_000), troubles.find(keys)]).toEqual([null, null])
})
