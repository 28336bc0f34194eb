import { event, service } from 'tidemark'
import { memory, memoryBroker } from 'tidemark/memory'
import { postgres, postgresBroker } from 'tidemark/postgres'
import { RetryLater } from 'tidemark/retry'
import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const maxRecordBytes = 2_000
const schema = z.object({ key: z.string(), n: z.number(), pad: z.string() })
const Told = event('Told', { aggregate: 'tale', key: ({ key }) => key, schema })
/** With it a record is below the limit, and above it with what a copy says beside. */
const large = 'p'.repeat(1_300)

describe.each([
  ['memory', async () => ({ database: memory(), broker: memoryBroker({ maxRecordBytes }) })],
  [
    'Postgres',
    async () => {
      const connectionString = (await testDatabase('large_copies')).connectionString()
      return { database: postgres({ connectionString }), broker: postgresBroker({ connectionString, maxRecordBytes }) }
    },
  ],
])('a message of which no copy fits the broker on %s', (_name, platform) => {
  async function setUp(fail: (n: number, attempt: number) => void) {
    const { database, broker } = await platform()
    const retryTopics = { delaysMs: [10, 20] }
    const shop = service('shop', {
      database,
      broker,
      partitions: 1,
      consumer: { retryTopics, retry: { immediate: 0, maxAttempts: 3 }, retryPollMs: 20 },
    })
    const runs: string[] = []
    shop.consume(Told, ({ data: { n } }, { attempt }) => {
      runs.push(`${n}/${attempt}`)
      fail(n, attempt)
    })
    onTestFinished(async () => {
      await shop.stop()
      await broker.close()
    })
    await shop.start()
    const tell = (n: number, pad = '') => shop.transaction((tx) => shop.publish(tx, Told, { key: 'k', n, pad }))
    return { shop, broker, runs, tell }
  }

  test('is a dead letter that says so, holds nothing of its key back, and is done once it is redriven', async () => {
    let isMended = false
    const { shop, broker, runs, tell } = await setUp((n, attempt) => {
      if (!isMended && (n === 0 || attempt === 1)) throw new RangeError('the first time')
    })
    await tell(0, large)
    await tell(1)
    await shop.settled()
    expect(runs.toSorted()).toEqual(['0/1', '1/1', '1/2'])
    const [letter, ...others] = await shop.deadLetters.peek({})
    expect(others).toEqual([])
    expect(letter).toMatchObject({ retryCount: 1, context: { errorClass: 'BROKER_RECORD_REFUSED', policy: 'skip' } })
    expect(letter!.failureReason).toMatch(
      /^It cannot wait in \S+\.shop\.retry\.1 for another attempt: its copy would have up to \d+ bytes, and the broker takes 2000\. It had failed with RangeError: the first time$/,
    )
    expect((await shop.status()).outbox).toMatchObject({ pending: 0, held: { keys: 0, messages: 0 } })
    expect(await broker.offsets(`${Told.topic}.shop.dlq`, 'latest')).toEqual([0])
    isMended = true
    expect(await shop.deadLetters.replayAll({})).toBe(1)
    await until('it is done', () => runs.length === 4)
    await shop.settled()
    expect((await shop.deadLetters.getDeadLetterStats()).totalCount).toBe(0)
  })

  test('is a dead letter where it asks for later, too', async () => {
    const { shop, tell } = await setUp((n) => {
      if (n === 0) throw new RetryLater(5)
    })
    await tell(0, large)
    await shop.settled()
    expect(await shop.deadLetters.peek({})).toMatchObject([{ retryCount: 1, context: { errorClass: 'BROKER_RECORD_REFUSED' } }])
  })
})

test('what the broker refuses of the outbox is counted in the status, and is a finding', async () => {
  const shop = service('shop', { database: memory(), broker: memoryBroker({ maxRecordBytes }), consumer: { owner: 'us' } })
  onTestFinished(() => shop.stop())
  await shop.start()
  const tell = (n: number, pad = '') => shop.transaction((tx) => shop.publish(tx, Told, { key: 'k', n, pad }))
  await tell(0, 'p'.repeat(3_000))
  await tell(1)
  await until('both are held', async () => (await shop.status()).outbox.held.messages === 2)
  expect(await shop.status()).toMatchObject({
    outbox: { pending: 0, held: { keys: 1, messages: 2 } },
    findings: [{ finding: 'outbox-held', group: null }],
  })
})
