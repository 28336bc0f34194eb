import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { timestamp } from './column-parsers.ts'

const general = (text: string): Date => new Date(text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00'))

describe('times', () => {
  test('of any day, in UTC, with any fraction, are what Date makes of them', () => {
    const days = fc.date({ min: new Date('0100-01-01T00:00:00Z'), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true })
    fc.assert(
      fc.property(days, fc.string({ unit: fc.constantFrom(...'0123456789'), maxLength: 6 }), (day, fraction) => {
        const text = `${day.toISOString().slice(0, 19).replace('T', ' ')}${fraction === '' ? '' : `.${fraction}`}+00`
        expect(timestamp(text)).toEqual(general(text))
      }),
    )
  })

  test.each([
    ['2026-01-31 23:59:59.5+00', '2026-01-31T23:59:59.500Z'],
    ['2026-01-31 23:59:59.123456+00', '2026-01-31T23:59:59.123Z'],
    ['2026-01-31 23:59:59+02', '2026-01-31T21:59:59.000Z'],
    ['2026-01-31 23:59:59.25+05:30', '2026-01-31T18:29:59.250Z'],
    ['0099-03-01 12:00:00+00', '0099-03-01T12:00:00.000Z'],
  ])('%s is %s', (text, expected) => {
    expect(timestamp(text).toISOString()).toBe(expected)
  })

  test.each(['infinity', '-infinity', '2026-01-31 23:59:xx+00', '20260-01-31 23:59:59+00', '2026-01-31 23:59:59 BC'])(
    '%s is no time of a Date',
    (text) => {
      expect(timestamp(text).getTime()).toEqual(general(text).getTime())
    },
  )
})
