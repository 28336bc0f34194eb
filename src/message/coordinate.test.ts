import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compareCoordinates, formatCoordinate, parseCoordinate } from './coordinate.ts'

const whole = fc.maxSafeNat()
const coordinates = fc.record({
  sourceEpoch: fc.string({ minLength: 1 }).filter((text) => !text.includes('/')),
  generation: whole,
  stream: whole,
  tick: whole,
  seq: whole,
})

test('every coordinate survives its wire form', () => {
  fc.assert(
    fc.property(coordinates, (coordinate) => {
      expect(parseCoordinate(formatCoordinate(coordinate))).toEqual(coordinate)
    }),
  )
})

test.each([
  '',
  '/',
  '////',
  '/1/2/3/4',
  'a/1/2/3',
  'a/1/2/3/',
  'a/1/2/3/4/5',
  'a/1/2/3/4 ',
  'a/-1/2/3/4',
  'a/1.5/2/3/4',
  'a/1e3/2/3/4',
  'a//2/3/4',
  'a/1/2/3/9007199254740992',
  'a/1/2/3/99999999999999999',
])('%j is no coordinate', (text) => {
  expect(parseCoordinate(text)).toBeNull()
})

test('a text that is a coordinate is one whose form it is', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('/', '1', '0', 'a') }), (text) => {
      const parsed = parseCoordinate(text)
      if (parsed !== null) expect(parseCoordinate(formatCoordinate(parsed))).toEqual(parsed)
    }),
  )
})

test('coordinates of one stream are ordered by tick, then by sequence', () => {
  expect(compareCoordinates({ tick: 1, seq: 9 }, { tick: 2, seq: 1 })).toBeLessThan(0)
  expect(compareCoordinates({ tick: 2, seq: 2 }, { tick: 2, seq: 1 })).toBeGreaterThan(0)
  expect(compareCoordinates({ tick: 2, seq: 1 }, { tick: 2, seq: 1 })).toBe(0)
})
