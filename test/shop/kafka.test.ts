import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ownKafkaAvailable } from '../support/kafka.ts'
import { expectedOutcome } from './oracle.ts'
import { randomInput } from './random-input.ts'
import { ShopFolder } from './shop-process.ts'

let folder: ShopFolder
beforeAll(async () => {
  folder = await ShopFolder.make()
})
afterAll(() => folder.remove())

async function totals(...args: readonly string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await folder.run('--once', '--json', ...args)
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
  // The shop's own check: sums that many orders share, where a message that counted twice would show.
  expect(stderr).not.toContain('insight does not agree')
  return JSON.parse(stdout) as Record<string, unknown>
}

describe.skipIf(ownKafkaAvailable.missing)(`the shop on a Kafka of its folder${ownKafkaAvailable.note}`, { timeout: 180_000 }, () => {
  const orders = randomInput(51, 400)
  const thresholds = ['--decline-above', '99.99', '--max-units', '4']
  const expected = { ...expectedOutcome(orders, { declineAboveCents: 9_999, maxUnits: 4 }), deadLetters: 0 }

  test('gives the totals of an independent count, and leaves no broker behind', async () => {
    const input = await folder.write('orders.txt', orders)
    expect(await totals('--broker', 'kafka', '--input', input, ...thresholds)).toMatchObject(expected)
    expect(await folder.hasKafka()).toBe(false)
  })

  test('is another shop than the one on Postgres in the same folder', async () => {
    const text = randomInput(52, 60)
    const input = await folder.write('other.txt', text)
    expect(await totals('--input', input)).toMatchObject({ ...expectedOutcome(text), deadLetters: 0 })
  })

  test('doubles nothing in a second run, also by two processes at once', async () => {
    const again = () => totals('--broker', 'kafka', '--input', `${folder.path}/orders.txt`, ...thresholds)
    for (const report of await Promise.all([again(), again()])) expect(report).toMatchObject({ ...expected, ordersPerSecond: 0 })
    expect(await folder.hasKafka()).toBe(false)
  })

  test('begins again with --fresh, each time', async () => {
    await using _kafka = await folder.keepKafka()
    for (const seed of [53, 54]) {
      const text = randomInput(seed, 100)
      const input = await folder.write('fresh.txt', text)
      expect(await totals('--broker', 'kafka', '--fresh', '--input', input)).toMatchObject({ ...expectedOutcome(text), deadLetters: 0 })
    }
    // Whoever stops last stops it, and that is not a shop.
    expect(await folder.hasKafka()).toBe(true)
  })

  test('says where to look inside, and stops cleanly on Ctrl-C', async () => {
    const shop = folder.start('--broker', 'kafka', '--rate', '400', '--limit', '100')
    await shop.untilSaid(/The input is exhausted/)
    shop.signal('SIGINT')
    const { code, stdout } = await shop.ended
    expect(code).toBe(0)
    expect(stdout).toMatch(/orders +postgresql:\S+\/shop_kafka_orders\n/)
    expect(stdout).toMatch(/Kafka client, at 127\.0\.0\.1:\d+: outbox\.event\.order, outbox\.event\.payment/)
    expect(await folder.hasKafka()).toBe(false)
  })
})
