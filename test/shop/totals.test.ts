import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { expectedOutcome } from './oracle.ts'
import { randomInput } from './random-input.ts'
import { sample, ShopFolder } from './shop-process.ts'

let folder: ShopFolder
beforeAll(async () => {
  folder = await ShopFolder.make()
})
afterAll(() => folder.remove())

/** Runs and returns the document, which must be all that stdout holds. */
async function totals(...args: readonly string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await folder.run('--once', '--json', ...args)
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
  // The shop's own check: sums that many orders share, where a message that counted twice would show.
  expect(stderr).not.toContain('insight does not agree')
  return JSON.parse(stdout) as Record<string, unknown>
}

describe('--once --json', { timeout: 180_000 }, () => {
  test('of the sample gives 6,919 = 109 + 12 + 6,798 orders, and the sums of the file', async () => {
    const report = await totals()
    expect(Object.keys(report)).toEqual([
      'placed',
      'declined',
      'outOfStock',
      'fulfilled',
      'refunded',
      'customers',
      'days',
      'deadLetters',
      'duplicatesSuppressed',
      'seconds',
      'ordersPerSecond',
    ])
    expect(report).toMatchObject(expectedOutcome(await sample()))
    expect(report).toMatchObject({
      placed: { orders: 6_919 },
      declined: { orders: 109 },
      outOfStock: { orders: 12 },
      fulfilled: { orders: 6_798 },
      customers: 2_357,
      deadLetters: 0,
    })
  })

  test('a second time doubles nothing', async () => {
    expect(await totals()).toMatchObject({ ...expectedOutcome(await sample()), deadLetters: 0, ordersPerSecond: 0 })
  })

  test('of a part covers that part', async () => {
    expect(await totals('--limit', '500')).toMatchObject(expectedOutcome(await sample(), { limit: 500 }))
    expect(await totals('--limit', '0')).toMatchObject({ ...expectedOutcome(''), ordersPerSecond: 0 })
  })

  test('of another file covers that file', async () => {
    const text = randomInput(7, 150)
    const input = await folder.write('other.txt', text)
    expect(await totals('--input', input)).toMatchObject(expectedOutcome(text))
  })

  test('with other thresholds is refused without --fresh, and changes nothing', async () => {
    for (const [flag, value, kept] of [
      ['--decline-above', '100', '150.00'],
      ['--max-units', '3', '10'],
    ] as const) {
      const { code, stdout, stderr } = await folder.run('--once', '--json', flag, value)
      expect(code).toBe(6)
      expect(stderr).toContain(`${flag} ${kept}`)
      expect(stderr).toContain('--fresh')
      expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'THRESHOLD_CHANGED', retryable: false } })
    }
    expect(await totals('--limit', '50')).toMatchObject(expectedOutcome(await sample(), { limit: 50 }))
  })

  test.each([
    [1, '0', '0'],
    [2, '99.99', '4'],
    [3, '20', '12'],
  ])('with --fresh and other thresholds equals an independent count (seed %i, %s dollars, %s CDs)', async (seed, dollars, units) => {
    const text = randomInput(seed, 200)
    const input = await folder.write(`seed-${seed}.txt`, text)
    const report = await totals('--fresh', '--input', input, '--decline-above', dollars, '--max-units', units)
    const declineAboveCents = Math.round(Number(dollars) * 100)
    expect(report).toMatchObject({ ...expectedOutcome(text, { declineAboveCents, maxUnits: Number(units) }), deadLetters: 0 })
  })

  test('of a file with a malformed line says which one, and places nothing', async () => {
    const good = '00001 19970101 1 10.00\n'
    const input = await folder.write('malformed.txt', `${good.repeat(20)}00001 19970230 1 10.00\n${good}`)
    const { code, stdout, stderr } = await folder.run('--once', '--json', '--input', input, '--decline-above', '20', '--max-units', '12')
    expect(code).toBe(2)
    expect(stderr).toMatch(/malformed\.txt, line 21: expected a day of the calendar.*"19970230"/)
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'INPUT_MALFORMED' } })

    const mended = await folder.write('mended.txt', good)
    const report = await totals('--input', mended, '--decline-above', '20', '--max-units', '12')
    // Had the first line of the malformed file been placed, this would be no new order.
    expect(report['ordersPerSecond']).toBeGreaterThan(0)
  })

  test('of a file that is not there is exit code 4', async () => {
    const { code, stderr } = await folder.run('--once', '--input', 'nowhere.txt')
    expect(code).toBe(4)
    expect(stderr).toContain('nowhere.txt')
  })

  test('with an option that does not exist is exit code 2, with a hint', async () => {
    const { code, stdout, stderr } = await folder.run('--once', '--jsn')
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain('Did you mean --json?')
  })
})
