import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ownKafkaAvailable } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { expectedOutcome } from './oracle.ts'
import { chanceOf, randomInput } from './random-input.ts'
import { ShopFolder } from './shop-process.ts'

let folder: ShopFolder
beforeAll(async () => {
  folder = await ShopFolder.make()
})
afterAll(() => folder.remove())

/**
 * Also what others show by themselves: that a run goes on when Kafka or Postgres is killed (`kafka/broker-restart.test.ts`, `shop/live.test.ts`),
 * and that `--fresh` is all or nothing (`shop/crash.test.ts`).
 */
const isLong = process.env.TIDEMARK_RACE_SECONDS !== undefined

const onKafka = ['--broker', 'kafka', '--once', '--json']

async function finalTotals(input: string): Promise<unknown> {
  const { code, stdout, stderr } = await folder.run(...onKafka, '--input', input)
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
  expect(stderr).not.toContain('insight does not agree')
  return JSON.parse(stdout)
}

describe.skipIf(ownKafkaAvailable.missing)(`kill -9 with a Kafka of the folder${ownKafkaAvailable.note}`, { timeout: 300_000 }, () => {
  test('of the shop, of Kafka and of Postgres, again and again, then a run to the end: the totals of the file', async () => {
    const text = randomInput(61, 600)
    const input = await folder.write('orders.txt', text)
    const chance = chanceOf(61)
    for (let round = 0; round < (isLong ? 3 : 2); round++) {
      const run = folder.start(...onKafka, '--input', input)
      // A moment of its life, the first time also one at which Kafka starts; no signal to wait for, since any moment will do.
      await Promise.race([sleep(500 + 5_000 * chance()), run.ended])
      await run.kill()
      if (chance() < 0.5) await folder.killServer()
      if (chance() < 0.5) await folder.killKafka()
    }
    expect(await finalTotals(input)).toMatchObject({ ...expectedOutcome(text), deadLetters: 0 })
    expect(await folder.hasKafka()).toBe(false)
  })

  test.runIf(isLong)('of Kafka and of Postgres in mid-run: the same run ends with the totals of the file', async () => {
    const text = randomInput(62, 600)
    const input = await folder.write('orders.txt', text)
    const chance = chanceOf(62)
    const run = folder.start(...onKafka, '--fresh', '--input', input)
    await Promise.race([run.untilSaid(/Placing/), run.ended])
    for (const kill of [() => folder.killKafka(), () => Promise.all([folder.killServer(), folder.killKafka()])]) {
      await Promise.race([sleep(200 + 1_000 * chance()), run.ended])
      await kill()
      await Promise.race([until('Kafka is back', () => folder.hasKafka(), 60_000), run.ended])
    }
    const { code, stdout, stderr } = await run.ended
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
    expect(stderr).toContain('it is started again')
    expect(stderr).not.toContain('insight does not agree')
    expect(JSON.parse(stdout)).toMatchObject({ ...expectedOutcome(text), deadLetters: 0 })
    expect(await folder.hasKafka()).toBe(false)
  })

  test.runIf(isLong)('in the midst of --fresh leaves all of the old shop or nothing of it', async () => {
    const text = randomInput(63, 60)
    const input = await folder.write('orders.txt', text)
    const chance = chanceOf(63)
    for (let round = 0; round < 3; round++) {
      const run = folder.start(...onKafka, '--fresh', '--input', input)
      await Promise.race([run.untilSaid(/Starting the services/), run.ended])
      await Promise.race([sleep(600 * chance()), run.ended])
      await run.kill()
    }
    expect(await finalTotals(input)).toMatchObject({ ...expectedOutcome(text), deadLetters: 0 })
  })

  test('of --fresh when the databases were gone and the topics not: the next run ends what it began', async () => {
    await finalTotals(await folder.write('before.txt', randomInput(65, 30)))
    expect(await folder.setAside('shop_kafka_', 'shop_kafka_dropped_')).toBe(5)
    const text = randomInput(64, 60)
    const input = await folder.write('orders.txt', text)
    // Were the old topics read once more, their orders would be handled too, and the sums of insight be too high.
    expect(await finalTotals(input)).toMatchObject({ ...expectedOutcome(text), deadLetters: 0 })
    expect(await folder.setAside('shop_kafka_dropped_', 'left_')).toBe(0)
  })
})
