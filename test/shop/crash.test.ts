import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { expectedOutcome } from './oracle.ts'
import { chanceOf, randomInput } from './random-input.ts'
import { ShopFolder } from './shop-process.ts'

let folder: ShopFolder
beforeEach(async () => {
  folder = await ShopFolder.make()
})
afterEach(() => folder.remove())

/** Long enough to be killed in the middle of. */
const lines = 1_200

async function finalTotals(input: string): Promise<unknown> {
  const { code, stdout, stderr } = await folder.run('--once', '--json', '--input', input)
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
  // The shop's own check: sums that many orders share, where a message that counted twice would show.
  expect(stderr).not.toContain('insight does not agree')
  return JSON.parse(stdout)
}

/** More seeds. */
const isLong = process.env.TIDEMARK_RACE_SECONDS !== undefined

describe('kill -9', { timeout: 180_000 }, () => {
  test.each(isLong ? [11, 12] : [12])(
    'of the shop, again and again, then a run to the end: the totals of the file (seed %i)',
    async (seed) => {
      const text = randomInput(seed, lines)
      const input = await folder.write('orders.txt', text)
      const chance = chanceOf(seed)
      for (let round = 0; round < (isLong ? 3 : 2); round++) {
        const run = folder.start('--once', '--json', '--input', input)
        // A moment of its life, from its first step to its last; no signal to wait for, since any moment will do.
        await Promise.race([sleep(500 + 3_000 * chance()), run.ended])
        await run.kill()
        if (chance() < 0.5) await folder.killServer()
      }
      expect(await finalTotals(input)).toMatchObject({ ...expectedOutcome(text), deadLetters: 0 })
    },
  )

  test.each(isLong ? [21, 22] : [22])(
    'of the embedded server in mid-run: the same run ends with the totals of the file (seed %i)',
    async (seed) => {
      const text = randomInput(seed, lines)
      const input = await folder.write('orders.txt', text)
      const chance = chanceOf(seed)
      expect(await finalTotals(await folder.write('one.txt', text.split('\n')[2]!))).toMatchObject({ deadLetters: 0 })
      const run = folder.start('--once', '--json', '--input', input)
      for (let kills = 0; kills < 2; kills++) {
        await Promise.race([sleep(1_000 + 1_500 * chance()), run.ended])
        await folder.killServer()
      }
      const { code, stdout, stderr } = await run.ended
      expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
      expect(stderr).not.toContain('insight does not agree')
      expect(JSON.parse(stdout)).toMatchObject({ ...expectedOutcome(text), deadLetters: 0 })
    },
  )

  test('in the midst of --fresh leaves all of the old shop or nothing of it', async () => {
    const text = randomInput(31, 60)
    const input = await folder.write('orders.txt', text)
    await finalTotals(input)
    for (const afterMs of [600, 1_000]) {
      const run = folder.start('--once', '--fresh', '--input', input)
      await Promise.race([sleep(afterMs), run.ended])
      await run.kill()
      expect(await finalTotals(input)).toMatchObject({ ...expectedOutcome(text), deadLetters: 0 })
    }
  })
})
