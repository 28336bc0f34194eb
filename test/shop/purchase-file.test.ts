import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { parsePurchases } from '../../examples/shop/input/purchase-file.ts'
import { expectedOutcome } from './oracle.ts'
import { randomInput } from './random-input.ts'

const parse = (text: string) => parsePurchases(Buffer.from(text), 'orders.txt')
const good = '00004 0001 19970101  2   29.33'

describe('a file of purchases', () => {
  test('has the customer first, and day, CDs and dollars last', () => {
    expect(parse(`${good}\n`)).toEqual([
      { orderId: '00004:0001:19970101:2:29.33:1', customer: '00004', day: '1997-01-01', units: 2, cents: 2933 },
    ])
  })

  test('may lack the second column, as the full data does', () => {
    expect(parse('00004 19970101 2 29.33')).toMatchObject([{ customer: '00004', day: '1997-01-01', units: 2, cents: 2933 }])
  })

  test('numbers identical lines, whatever the space between their columns', () => {
    const ids = parse(`1 19970101 1 5.00\n2 19970101 1 5.00\n  1\t19970101   1 5.00\r\n1 19970101 1 5.00`).map(({ orderId }) => orderId)
    expect(ids).toEqual(['1:19970101:1:5.00:1', '2:19970101:1:5.00:1', '1:19970101:1:5.00:2', '1:19970101:1:5.00:3'])
  })

  test.each([
    ['CRLF', `${good}\r\n${good}\r\n`],
    ['no end of the last line', `${good}\n${good}`],
    ['blank lines', `\n\r\n${good}\n   \n\t\r\n${good}\n\n`],
    ['a byte order mark', `\uFEFF${good}\n${good}`],
    ['a header', `customer id date cds dollars\n${good}\n${good}`],
    ['a byte order mark, a blank line, and a header with other columns', `\uFEFF\r\nCDNOW sample\r\n${good}\r\n${good}`],
    ['tabs', `${good.replaceAll(/ +/g, '\t')}\n${good}`],
  ])('gives the same orders with %s', (_, text) => {
    expect(parse(text)).toEqual(parse(`${good}\n${good}\n`))
  })

  test.each([
    ['nothing', ''],
    ['only blank lines', '\r\n \n'],
    ['only a header', 'customer date cds dollars\n'],
  ])('with %s has no orders', (_, text) => {
    expect(parse(text)).toEqual([])
  })

  test.each([
    ['0.29', 29],
    ['1.15', 115],
    ['19.99', 1999],
    ['8.1', 810],
    ['7', 700],
    ['0', 0],
    ['0.00', 0],
    ['00012.50', 1250],
    ['10000000.00', 1_000_000_000],
  ])('reads %s dollars as %i cents', (dollars, cents) => {
    expect(parse(`1 19970101 1 ${dollars}`)[0]!.cents).toBe(cents)
  })

  test('takes leap days, an order of no CDs, and customers that are words', () => {
    expect(parse('anna@example.org 19960229 0 0.00\nbo_ärlig-2 20000229 1000000 1.00')).toMatchObject([
      { customer: 'anna@example.org', day: '1996-02-29', units: 0, cents: 0 },
      { customer: 'bo_ärlig-2', day: '2000-02-29', units: 1_000_000, cents: 100 },
    ])
  })

  const malformed: readonly (readonly [what: string, line: string, expected: RegExp])[] = [
    ['too few columns', '19970101 2 29.33', /4 or 5 columns .* got 3/],
    ['one column', '00004', /got 1/],
    ['too many columns', '00004 0001 19970101 2 29.33 x', /got 6/],
    ['another number of columns', '0001 19970101 2 29.33', /5 columns as in line 1, got 4/],
    ['a day of letters', '00004 0001 1997jan1 2 29.33', /a day of the calendar.*"1997jan1"/],
    ['a day with dashes', '00004 0001 1997-01-01 2 29.33', /a day of the calendar/],
    ['a day too short', '00004 0001 1997011 2 29.33', /a day of the calendar/],
    ['a day too long', '00004 0001 199701010 2 29.33', /a day of the calendar/],
    ['month 13', '00004 0001 19971301 2 29.33', /a day of the calendar/],
    ['month 0', '00004 0001 19970001 2 29.33', /a day of the calendar/],
    ['day 0', '00004 0001 19970100 2 29.33', /a day of the calendar/],
    ['30 February', '00004 0001 19970230 2 29.33', /a day of the calendar/],
    ['29 February of a common year', '00004 0001 19000229 2 29.33', /a day of the calendar/],
    ['31 April', '00004 0001 19970431 2 29.33', /a day of the calendar/],
    ['a year before 1900', '00004 0001 18991231 2 29.33', /from 1900 to 2199/],
    ['a year after 2199', '00004 0001 22000101 2 29.33', /from 1900 to 2199/],
    ['half a CD', '00004 0001 19970101 1.5 29.33', /a whole number of CDs.*"1.5"/],
    ['fewer than no CDs', '00004 0001 19970101 -1 29.33', /a whole number of CDs.*"-1"/],
    ['a signed number of CDs', '00004 0001 19970101 +1 29.33', /a whole number of CDs/],
    ['CDs in hexadecimal', '00004 0001 19970101 0x2 29.33', /a whole number of CDs/],
    ['CDs with an exponent', '00004 0001 19970101 1e3 29.33', /a whole number of CDs/],
    ['too many CDs', '00004 0001 19970101 1000001 29.33', /from 0 to 1,000,000/],
    ['CDs that are a word', '00004 0001 19970101 two 29.33', /"two"/],
    ['a tenth of a cent', '00004 0001 19970101 2 29.333', /at most 2 decimals.*"29.333"/],
    ['a point and no decimals', '00004 0001 19970101 2 29.', /at most 2 decimals/],
    ['no digit before the point', '00004 0001 19970101 2 .33', /at most 2 decimals/],
    ['a decimal comma', '00004 0001 19970101 2 29,33', /at most 2 decimals/],
    ['a thousands separator', '00004 0001 19970101 2 1,029.33', /at most 2 decimals/],
    ['a dollar sign', '00004 0001 19970101 2 $29.33', /at most 2 decimals/],
    ['a negative value', '00004 0001 19970101 2 -29.33', /from 0 to 10,000,000/],
    ['a value with an exponent', '00004 0001 19970101 2 1e2', /at most 2 decimals/],
    ['not a number', '00004 0001 19970101 2 NaN', /"NaN"/],
    ['infinity', '00004 0001 19970101 2 Infinity', /"Infinity"/],
    ['too many dollars', '00004 0001 19970101 2 10000000.01', /from 0 to 10,000,000/],
    ['digits without end', `00004 0001 19970101 2 ${'9'.repeat(400)}`, /"9{40}…"/],
    ['a customer with a colon', '00:04 0001 19970101 2 29.33', /a customer of at most 64/],
    ['a customer with a zero byte', '00\u000004 0001 19970101 2 29.33', /a customer of at most 64/],
    ['a second header', 'customer id date cds dollars', /a day of the calendar/],
  ]

  test.each(malformed)('with %s is refused with the line and what was expected', (_, line, expected) => {
    const text = `${good}\r\n\r\n${good}\r\n${line}\r\n${good}\r\n`
    expect(() => parse(text)).toThrow(/^orders\.txt, line 4: expected /)
    expect(() => parse(text)).toThrow(expected)
    expect(() => parse(text)).toThrow(/Nothing was placed\.$/)
  })

  test('with numbers in the first line has no header there, but an order or an error', () => {
    expect(() => parse(`00004 0001 1997 2 29.33\n${good}`)).toThrow(/line 1: expected a day of the calendar/)
  })

  test('that is not UTF-8 is refused with the line', () => {
    const bytes = Buffer.concat([Buffer.from(`${good}\n`), Buffer.from([0x4d, 0xfc, 0x20]), Buffer.from('19970101 2 29.33\n')])
    expect(() => parsePurchases(bytes, 'orders.txt')).toThrow(/line 2: expected text in UTF-8/)
    expect(() => parsePurchases(Buffer.from(`\uFEFF${good}`, 'utf16le'), 'orders.txt')).toThrow(/line 1: expected text in UTF-8/)
  })

  test.each(Array.from({ length: 40 }, (_, seed) => seed))('has the sums that its text has (seed %i)', (seed) => {
    const text = randomInput(seed, 120)
    const purchases = parse(text)
    const { placed, customers, days } = expectedOutcome(text)
    const sum = (what: 'units' | 'cents') => purchases.reduce((all, purchase) => all + purchase[what], 0)
    expect({ orders: purchases.length, units: sum('units'), cents: sum('cents') }).toEqual(placed)
    expect(new Set(purchases.map(({ customer }) => customer)).size).toBe(customers)
    expect(new Set(purchases.map(({ day }) => day)).size).toBe(days)
    expect(new Set(purchases.map(({ orderId }) => orderId)).size).toBe(purchases.length)
  })

  test('of 6,919 purchases comes with the example', async () => {
    const bytes = await readFile(new URL('../../examples/shop/data/cdnow-sample.txt', import.meta.url))
    const purchases = parsePurchases(bytes, 'cdnow-sample.txt')
    expect(purchases).toHaveLength(6_919)
    expect(new Set(purchases.map(({ orderId }) => orderId)).size).toBe(6_919)
    expect(new Set(purchases.map(({ customer }) => customer)).size).toBe(2_357)
    expect(purchases.filter(({ orderId }) => orderId.endsWith(':2'))).toHaveLength(19)
    expect(purchases.filter(({ orderId }) => orderId.endsWith(':3'))).toHaveLength(2)
  })
})
