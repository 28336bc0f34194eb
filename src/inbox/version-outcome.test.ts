import { expect, test } from 'vitest'
import { type AcceptedVersions, type VersionOutcome, versionOutcome, versionOutcomes } from './version-outcome.ts'

test.each<[version: bigint, stored: bigint | null, accept: AcceptedVersions, insertAt: bigint | null, outcome: VersionOutcome]>([
  [3n, 2n, 'next', null, 'applied'],
  [2n, 2n, 'next', null, 'duplicate'],
  [1n, 2n, 'next', null, 'stale'],
  [4n, 2n, 'next', null, 'missing'],
  [4n, 2n, 'newer', null, 'applied'],
  [1n, null, 'next', null, 'missing'],
  [1n, null, 'next', 1n, 'applied'],
  [2n, null, 'next', 1n, 'missing'],
  [2n, null, 'newer', 1n, 'applied'],
  [9_007_199_254_740_993n, 9_007_199_254_740_992n, 'next', null, 'applied'],
  [9_007_199_254_740_993n, 9_007_199_254_740_993n, 'next', null, 'duplicate'],
])('version %s on a row of %s, accepting %s, inserting at %s: %s', (version, stored, accept, insertAt, outcome) => {
  expect(versionOutcome(version, stored, { accept, insertAt })).toBe(outcome)
})

test('several versions of a row are taken from the smallest up, each once, and up to the first gap', () => {
  const outcomes = versionOutcomes([3n, 2n, 2n, 5n, 1n], 1n, { accept: 'next', insertAt: null })
  expect(outcomes.map(({ outcome }) => outcome)).toEqual(['applied', 'applied', 'duplicate', 'missing', 'duplicate'])
  expect(outcomes.map(({ stored }) => stored)).toEqual([2n, 1n, 2n, 3n, 1n])
})
