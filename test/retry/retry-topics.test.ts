import { randomUUID } from 'node:crypto'
import { event, service } from 'tidemark'
import { TerminalError, RetryLater } from 'tidemark/retry'
import { memory, memoryBroker } from 'tidemark/memory'
import { postgres, postgresBroker } from 'tidemark/postgres'
import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import type { ServiceOptions } from '../../src/service/index.ts'
import type { Broker, Header, LogRecord, MessageOf } from '../../src/message/index.ts'
import type { HandlerContext } from '../../src/consumer/index.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const delaysMs = [20, 60, 120]
const Told = event('Told', { aggregate: 'tale', key: ({ key }) => key, schema: z.object({ key: z.string(), n: z.number() }) })

/** All records of a topic, partition by partition. */
async function recordsOf(broker: Broker, topic: string): Promise<readonly LogRecord[]> {
  const [from, to] = [await broker.offsets(topic, 'earliest'), await broker.offsets(topic, 'latest')]
  const records: LogRecord[] = []
  for (const [partition, start] of from.entries()) {
    for (let offset = start; offset < to[partition]!;) {
      const [found] = await broker.reader().fetch([{ topic, partition, offset }], { maxBytes: 1_000_000, maxWaitMs: 0 })
      records.push(...found!.records)
      offset = found!.nextOffset
    }
  }
  return records
}

const textsOf = ({ headers }: LogRecord): Record<string, string> =>
  Object.fromEntries(headers.map(([name, value]) => [name, String(value)]))

describe.each([
  ['memory', async () => ({ database: memory(), broker: memoryBroker() })],
  [
    'Postgres',
    async () => {
      const connectionString = (await testDatabase('retry_topics')).connectionString()
      return { database: postgres({ connectionString }), broker: postgresBroker({ connectionString }) }
    },
  ],
])('retry topics on %s', (_name, platform) => {
  /** A service of one event, and what its handler was called with. */
  async function setUp(handle: (message: MessageOf<typeof Told>, calls: number) => unknown, options: ServiceOptions['consumer'] = {}) {
    const { database, broker } = await platform()
    const calls: {
      readonly message: MessageOf<typeof Told>
      readonly context: HandlerContext
      readonly at: number
      readonly now: number
    }[] = []
    const retry = { immediate: 0, ...options.retry }
    const shop = service('shop', { database, broker, partitions: 2, consumer: { retryTopics: { delaysMs }, ...options, retry } })
    shop.consume(Told, async (message, context) => {
      calls.push({ message, context, at: Date.now(), now: context.now().getTime() })
      await handle(message, calls.filter(({ message: { id } }) => id === message.id).length)
    })
    onTestFinished(async () => {
      await shop.stop()
      await broker.close()
    })
    await shop.start()
    const tell = (key: string, n: number) => shop.transaction((tx) => shop.publish(tx, Told, { key, n }))
    return { shop, broker, calls, tell, topic: Told.topic, of: (n: number) => calls.filter(({ message }) => message.data.n === n) }
  }

  test('a message that fails waits in one after the other, is the same each time, and takes effect once', async () => {
    const { shop, broker, tell, of, topic, calls } = await setUp(({ data }, run) => {
      if (data.n === 0 && run < 3) throw new Error(`run ${run}`)
    })
    await tell('k', 0)
    await until('it failed', () => of(0).length > 0)
    await tell('k', 1)
    await shop.settled()
    const runs = of(0)
    expect(runs.map(({ context }) => context.attempt)).toEqual([1, 2, 3])
    const [first] = runs
    for (const { message, now, context } of runs) {
      expect(message).toMatchObject({ ...first!.message, topic, partition: first!.message.partition, offset: first!.message.offset })
      expect(now).toBe(first!.now)
      expect(context.uuid()).toBeTypeOf('string')
    }
    expect(runs[1]!.at - runs[0]!.at).toBeGreaterThanOrEqual(delaysMs[0]! - 5)
    expect(runs[2]!.at - runs[1]!.at).toBeGreaterThanOrEqual(delaysMs[1]! - 5)
    expect(of(1)).toHaveLength(1)
    expect(calls).toHaveLength(4)
    const [{ consumer } = { consumer: null }] = (await shop.status()).groups
    expect(consumer!.counts).toMatchObject({ passedOn: 2, parked: 0, queued: 0, retries: 2, deadLetters: 0, handled: 2 })
    const [waited] = await recordsOf(broker, `${topic}.shop.retry.2`)
    expect(textsOf(waited!)).toMatchObject({
      ce_id: first!.message.id,
      ce_type: 'Told',
      'tidemark-original-topic': topic,
      'tidemark-original-offset': String(first!.message.offset),
      'tidemark-retry-group': 'shop',
      'tidemark-retry-count': '2',
      'tidemark-error': 'run 2',
      'tidemark-error-class': 'Error',
    })
    expect(JSON.parse(textsOf(waited!)['tidemark-retry-attempts']!)).toMatchObject([{ error: 'run 1' }, { error: 'run 2' }])
  })

  test('one that always fails is a dead letter with every attempt, and a copy of it in the topic of the dead; redriven, it is done', async () => {
    let isMended = false
    const { shop, broker, tell, of, topic } = await setUp(({ data }) => {
      if (data.key === 'bad' && !isMended) throw new RangeError('for ever')
    })
    await tell('bad', 0)
    await tell('bad', 1)
    await tell('good', 2)
    await shop.settled()
    expect(of(0)).toHaveLength(5)
    const letters = await shop.deadLetters.peek({})
    expect(letters).toHaveLength(2)
    const letter = letters.find(({ originalEvent }) => originalEvent.eventId === of(0)[0]!.message.id)!
    expect(letter).toMatchObject({ sourceQueue: topic, retryCount: 5, originalEvent: { data: { key: 'bad', n: 0 } } })
    expect(letter.context).toMatchObject({ retryCount: 5, errorClass: 'RangeError', policy: 'skip' })
    expect(await shop.deadLetters.get(letter.context.id)).toMatchObject({ failureReason: 'for ever' })
    expect(letter.firstFailedAt.getTime()).toBeLessThan(letter.lastFailedAt.getTime() - 200)
    const copies = await recordsOf(broker, `${topic}.shop.dlq`)
    expect(copies).toHaveLength(2)
    expect(textsOf(copies[0]!)).toMatchObject({ 'tidemark-retry-count': '5', 'tidemark-error': 'for ever' })
    expect(copies.map(({ value }) => JSON.parse(String(value)) as unknown)).toEqual([
      { key: 'bad', n: 0 },
      { key: 'bad', n: 1 },
    ])
    isMended = true
    expect(await shop.deadLetters.replayAll({})).toBe(2)
    await until('they are done', () => of(0).length === 6 && of(1).length === 6)
    await shop.settled()
    expect((await shop.deadLetters.getDeadLetterStats()).totalCount).toBe(0)
    expect(of(0)).toHaveLength(6)
  })

  test('what can never succeed goes to the dead at once; what asks for later is not charged', async () => {
    const { shop, broker, tell, of, topic } = await setUp(
      ({ data }, run) => {
        if (data.n === 0) throw new TerminalError('never')
        if (run < 4) throw new RetryLater(50)
        throw new Error('now it counts')
      },
      { retry: { maxAttempts: 1 } },
    )
    await tell('a', 0)
    await tell('b', 1)
    await shop.settled()
    expect(of(0)).toHaveLength(1)
    expect(of(1)).toHaveLength(4)
    expect((await shop.deadLetters.peek({})).map(({ retryCount }) => retryCount)).toEqual([1, 1])
    expect(await recordsOf(broker, `${topic}.shop.retry.1`)).toEqual([])
    const later = await recordsOf(broker, `${topic}.shop.retry.2`)
    expect(later.map((record) => textsOf(record)['tidemark-retry-count'])).toEqual(['0', '0', '0'])
  })

  test('an outage passes nothing on and charges nobody', async () => {
    let isAway = true
    const { shop, broker, tell, topic, calls } = await setUp(
      () => {
        if (isAway) throw Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })
      },
      { breaker: { probeAfterMs: 20, maxProbeAfterMs: 50 } },
    )
    for (let n = 0; n < 20; n++) await tell(`k${n}`, n)
    await until('the breaker is open', async () => (await shop.status()).groups[0]!.consumer!.breaker !== null)
    const before = calls.length
    await until('it probes', () => calls.length > before + 2)
    isAway = false
    await shop.settled()
    expect(new Set(calls.map(({ message }) => message.id)).size).toBe(20)
    const waited = await Promise.all([1, 2, 3].map((tier) => recordsOf(broker, `${topic}.shop.retry.${tier}`)))
    // Up to two may fail before three different ones say that it is an outage.
    expect(waited.flat().length).toBeLessThan(3)
    expect((await shop.deadLetters.getDeadLetterStats()).totalCount).toBe(0)
  })
})

test('a copy of each dead letter is all that is wanted: the key waits in the database, in its order, and blocks', async () => {
  const connectionString = (await testDatabase('dead_letter_topic')).connectionString()
  const broker = postgresBroker({ connectionString })
  let isMended = false
  const seen: number[] = []
  const consumer = {
    deadLetterTopic: ({ topic }: { topic: string }) => `${topic}-dlt`,
    retry: { immediate: 0, maxAttempts: 2, baseDelayMs: 1 },
    retryPollMs: 20,
  }
  const shop = service('shop', { database: postgres({ connectionString }), broker, partitions: 1, consumer })
  shop.consume(Told, ({ data: { n } }) => {
    if (n === 0 && !isMended) throw new Error('no')
    seen.push(n)
  })
  onTestFinished(async () => {
    await shop.stop()
    await broker.close()
  })
  await shop.start()
  await shop.transaction((tx) =>
    shop.publishAll(
      tx,
      [0, 1].map((n) => ({ event: Told, data: { key: 'k', n } })),
    ),
  )
  await until('it is dead', async () => (await shop.deadLetters.getDeadLetterStats()).totalCount === 1)
  await until('its copy is sent', async () => (await recordsOf(broker, `${Told.topic}-dlt`).catch(() => [])).length === 1)
  const [copy] = await recordsOf(broker, `${Told.topic}-dlt`)
  expect(textsOf(copy!)).toMatchObject({ 'tidemark-retry-count': '2', 'tidemark-original-topic': Told.topic })
  expect(seen).toEqual([])
  isMended = true
  await shop.deadLetters.replayAll()
  await shop.settled()
  expect(seen).toEqual([0, 1])
})

describe('what others wrote, on Postgres', async () => {
  const connectionString = (await testDatabase('retry_topics_foreign')).connectionString()
  const broker = postgresBroker({ connectionString })
  const Foreign = event('Foreign', { aggregate: 'foreign', key: () => 'k', untyped: true, schema: z.unknown() })

  async function send(
    topic: string,
    records: readonly { readonly key: Buffer | null; readonly value: Buffer | null; readonly headers: readonly Header[] }[],
  ) {
    const claim = { sourceEpoch: `${randomUUID()}.1`, generation: 1, stream: 0, epoch: 1, topics: [topic] }
    const appender = await broker.appender(claim)
    await appender.append(records.map((record) => ({ topic, partition: 0, ...record, coordinate: null })))
    await appender.close()
  }

  test('is passed on byte for byte, and two copies of one in a retry topic take effect once', async () => {
    const seen: string[] = []
    const billing = service('billing', {
      database: postgres({ connectionString }),
      broker,
      partitions: 1,
      consumer: { retryTopics: { delaysMs: [10] }, retry: { immediate: 0, maxAttempts: 2 } },
    })
    billing.consume(Foreign, ({ id }, { attempt }) => {
      seen.push(`${id} ${attempt}`)
      if (id.startsWith('bad') || attempt === 1) throw new Error('no')
    })
    onTestFinished(async () => {
      await billing.stop()
      await broker.close()
    })
    await billing.start()
    const odd = {
      key: Buffer.from([0xff, 0, 1]),
      value: null,
      headers: [
        ['ce_id', 'bad'],
        ['a', '1'],
        ['a', Buffer.from([0xfe])],
        ['b', null],
      ] as const,
    }
    const plain = { key: null, value: Buffer.from('{"n":1}'), headers: [['ce_id', 'plain']] as const }
    await send(Foreign.topic, [odd, plain])
    await billing.settled()
    expect(seen.toSorted()).toEqual(['bad 1', 'bad 2', 'plain 1', 'plain 2'])
    const [copy] = await recordsOf(broker, `${Foreign.topic}.billing.dlq`)
    expect(copy).toMatchObject({ key: odd.key, value: null })
    expect(copy!.headers.slice(0, 4)).toEqual([
      ['ce_id', Buffer.from('bad')],
      ['a', Buffer.from('1')],
      ['a', Buffer.from([0xfe])],
      ['b', null],
    ])
    const [waited, ...others] = (await recordsOf(broker, `${Foreign.topic}.billing.retry.1`)).filter(({ key }) => key === null)
    expect(others).toEqual([])

    // Somebody copies it there again; another one puts a message there that nobody has seen.
    const { key, value, headers } = waited!
    await send(`${Foreign.topic}.billing.retry.1`, [
      { key, value, headers: headers.filter(([name]) => name !== 'tidemark-coordinate') },
      { key, value, headers: [['ce_id', 'new']] },
    ])
    await until('they are read', async () => (await billing.status()).groups[0]!.lags!.every(({ lag }) => lag === 0))
    expect(seen.slice(4)).toEqual(['new 2'])

    // A copy of the dead one has used up its attempts: it gets one more.
    await send(`${Foreign.topic}.billing.retry.1`, [{ ...odd, headers: copy!.headers.filter(([name]) => name !== 'tidemark-coordinate') }])
    await until('it ran', () => seen.length === 6)
    await billing.settled()
    expect(seen.slice(5)).toEqual(['bad 3'])
    expect(await recordsOf(broker, `${Foreign.topic}.billing.dlq`)).toHaveLength(2)
  })
})
