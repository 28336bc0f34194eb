import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { expectedOutcome } from './oracle.ts'
import { randomInput } from './random-input.ts'
import { ShopFolder } from './shop-process.ts'

let folder: ShopFolder
let input: string
/** Enough to be placing and settling for a while. */
const orders = randomInput(41, 800)
beforeAll(async () => {
  folder = await ShopFolder.make()
  input = await folder.write('orders.txt', orders)
})
afterAll(() => folder.remove())

describe('an interrupted --once', { timeout: 180_000 }, () => {
  test.each<[NodeJS.Signals, number, RegExp]>([
    ['SIGINT', 130, /Starting the services/],
    ['SIGTERM', 143, /Placing 800 orders/],
    ['SIGINT', 130, /Settling/],
    ['SIGINT', 130, /Reading the totals/],
    ['SIGTERM', 143, /Stopping the services/],
    ['SIGINT', 130, /Leaving the database/],
  ])('by %s exits with %i and prints no document and leaves no server: after %s', async (signal, code, moment) => {
    const run = folder.start('--once', '--json', '--fresh', '--input', input)
    await run.untilSaid(moment)
    run.signal(signal)
    const ending = await run.ended
    expect(ending, ending.stderr).toMatchObject({ code, stdout: '' })
    expect(ending.stderr).toContain('Leaving the database')
    expect(ending.stderr).toContain('goes on from here')
    expect(ending.stderr).not.toMatch(/not settled|Error/i)
    expect(await folder.killServer(), 'the server goes on running').toBe(false)
  })

  test('goes on from there: the totals of the file', async () => {
    const { code, stdout, stderr } = await folder.run('--once', '--json', '--input', input)
    expect(code, stderr).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ ...expectedOutcome(orders), deadLetters: 0 })
  })
})

test('without --once the exit code is 0, also while the services start', async () => {
  const run = folder.start('--input', input)
  await run.untilSaid(/Starting the services/)
  run.signal('SIGTERM')
  const { code, stderr } = await run.ended
  expect(code, stderr).toBe(0)
})
