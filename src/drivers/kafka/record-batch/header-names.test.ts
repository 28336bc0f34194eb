import fc from 'fast-check'
import { expect, test } from 'vitest'
import { HeaderNames } from './header-names.ts'

test('every name is read as it is, however many fall on one place', () => {
  const names = new HeaderNames()
  fc.assert(
    fc.property(fc.oneof(fc.string({ maxLength: 3 }), fc.string({ unit: 'binary', maxLength: 200 })), (text) => {
      const bytes = Buffer.from(`before ${text} behind`)
      expect(names.read(bytes, 7, bytes.length - 7)).toBe(bytes.toString('utf8', 7, bytes.length - 7))
    }),
    { numRuns: 1_000 },
  )
})

test('a name is not taken for a longer one that it begins', () => {
  const names = new HeaderNames()
  // All words of up to 8 letters of two: more than there are places, and each begins others.
  const words = Array.from({ length: 511 }, (_, number) => (number + 1).toString(2).slice(1)).toReversed()
  for (const word of [...words, ...words.toReversed()]) expect(names.read(Buffer.from(word), 0, word.length)).toBe(word)
})

test('a name that is known is not decoded again', () => {
  const names = new HeaderNames()
  const bytes = Buffer.from('traceparent')
  names.read(bytes, 0, bytes.length)
  const again = Buffer.from('traceparent')
  again.toString = () => expect.unreachable('it was decoded again')
  expect(names.read(again, 0, again.length)).toBe('traceparent')
})

test('a name outlives the bytes that it was read from', () => {
  const names = new HeaderNames()
  const bytes = Buffer.from('one')
  names.read(bytes, 0, 3)
  bytes.write('two')
  expect(names.read(Buffer.from('one'), 0, 3)).toBe('one')
  expect(names.read(bytes, 0, 3)).toBe('two')
})
