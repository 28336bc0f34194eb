import { expect, test } from 'vitest'
import { inboxIdentity } from './identity.ts'

test('a short plain identity is kept as it is, so that people can read it', () => {
  expect(inboxIdentity('/shop 01890000-0000-7000-8000-000000000000')).toBe('/shop 01890000-0000-7000-8000-000000000000')
})

test('what an index or a text cannot hold is kept as a hash of the same size', () => {
  const odd = ['x'.repeat(257), 'with \0', 'ü', '\ud800'].map(inboxIdentity)
  for (const one of odd) expect(one).toMatch(/^sha256:[0-9a-f]{64}$/)
  expect(new Set(odd).size).toBe(4)
})
