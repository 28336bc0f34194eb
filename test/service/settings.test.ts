import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { type HandlerContext, type Service, type ServiceOptions, event, service, settled } from 'tidemark'
import { postgres, postgresBroker } from 'tidemark/postgres'
import { z } from 'zod'
import { coordinateHeader } from '../../src/message/wire.ts'
import { outboxDatabase, message } from '../outbox/support/outbox-database.ts'
import { type TestDatabase, testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { type Wire, losingTheFirstReply } from './support/losing-broker.ts'

const Counted = event('Counted', {
  aggregate: 'counter',
  key: ({ name }) => name,
  schema: z.object({ name: z.string(), value: z.number() }),
})
const Named = event('Named', { aggregate: 'name', key: ({ name }) => name, schema: z.object({ name: z.string(), value: z.number() }) })

const logDatabase = await testDatabase('log')
const log = postgresBroker({ connection: () => logDatabase.connection() })
afterAll(() => log.close())

const running: Service[] = []
afterEach(() => Promise.all(running.splice(0).map((one) => one.stop())))

const names = ['simple', 'simplebilling', 'kept', 'streams', 'streamsreader', 'twostreams', 'partitions', 'alone']
const more = ['retryshop', 'retrybilling', 'twice', 'batchshop', 'batches']
const databases = new Map<string, TestDatabase>()
for (const name of [...names, ...more]) databases.set(name, await testDatabase(name))
const two = await outboxDatabase('pending', { streams: 2 })

/** A service on the database of its name, stopped after the test. */
function make(name: string, options: ServiceOptions = {}): Service {
  const database = postgres({ connection: () => databases.get(name)!.connection() })
  const made = service(name, { database, broker: log, partitions: 2, ...options })
  running.push(made)
  return made
}

describe('simple mode', () => {
  const wire: Wire = { sent: [] }

  test('publishes, deletes what is published, sends no coordinate, and a repeat has its effects once, by the inbox', async () => {
    const shop = make('simple', { broker: losingTheFirstReply(log, wire), outbox: { published: 'delete', idleMs: 5 } })
    const billing = make('simplebilling')
    await billing.query('create table total (name text primary key, value int not null)')
    billing.consume(Counted, async ({ data }, { tx }) => {
      const sum = 'insert into total values ($1, $2) on conflict (name) do update set value = total.value + excluded.value'
      await tx.query(sum, [data.name, data.value])
    })
    await Promise.all([shop.start(), billing.start()])
    for (let value = 1; value <= 10; value++) {
      await shop.transaction((tx) => shop.publish(tx, Counted, { name: `c-${value % 2}`, value }))
    }
    await settled([shop, billing])
    expect(await shop.query('select from tidemark.outbox')).toEqual([])
    expect(wire.sent.length).toBeGreaterThan(10)
    expect(wire.sent.filter(({ coordinate }) => coordinate !== null)).toEqual([])
    expect(wire.sent.flatMap(({ headers }) => headers.filter(([name]) => name === coordinateHeader))).toEqual([])
    const sums = await billing.query('select name, value from total order by name')
    expect(sums).toEqual([
      { name: 'c-0', value: 30 },
      { name: 'c-1', value: 25 },
    ])
    const { duplicates } = (await billing.status()).groups[0]!.consumer!.counts
    expect(duplicates).toMatchObject({ highWater: 0, inbox: wire.sent.length - 10 })
  })

  test('is refused for a database whose published rows were kept: they would all be sent again', async () => {
    const shop = make('kept', { outbox: { idleMs: 5 } })
    await shop.start()
    await shop.transaction((tx) => shop.publish(tx, Counted, { name: 'k', value: 1 }))
    await shop.settled()
    await shop.stop()
    wire.sent.length = 0
    const simple = make('kept', { broker: losingTheFirstReply(log, wire), outbox: { published: 'delete', idleMs: 5 } })
    await simple.start()
    await expect(simple.done).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining("got 'delete'") as string })
    expect(wire.sent).toEqual([])
  })
})

describe('streams', () => {
  test('share out the keys, each with its relay, and every key keeps its order', async () => {
    const shop = make('streams', { outbox: { streams: 2, idleMs: 5, pageSize: 7 } })
    const reader = make('streamsreader')
    const seen = new Map<string, number[]>()
    reader.consume(Named, ({ data }) => {
      seen.set(data.name, [...(seen.get(data.name) ?? []), data.value])
    })
    await Promise.all([shop.start(), reader.start()])
    const keys = Array.from({ length: 12 }, (_, key) => `n-${key}`)
    for (let value = 0; value < 15; value++) {
      await Promise.all(keys.map((name) => shop.transaction((tx) => shop.publish(tx, Named, { name, value }))))
    }
    await settled([shop, reader])
    expect([...seen.keys()].sort()).toEqual(keys.sort())
    for (const values of seen.values()) expect(values).toEqual(Array.from({ length: 15 }, (_, value) => value))
    const { relays } = (await shop.status()).outbox
    expect(relays).toHaveLength(2)
    for (const { phase, published } of relays) expect([phase, published > 0]).toEqual(['owner', true])
    expect(relays.reduce((sum, { published }) => sum + published, 0)).toBe(180)
  })

  test('another number than the one the database began with stops loudly', async () => {
    const first = make('twostreams', { outbox: { streams: 2 } })
    await first.start()
    await until('both relays own their stream', async () => (await first.status()).outbox.relays.every(({ phase }) => phase === 'owner'))
    await first.stop()
    const second = make('twostreams', { outbox: { streams: 3 } })
    await second.start()
    await expect(second.done).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  test('messages of a stream whose relay never ran are pending', async () => {
    await two.publish(...Array.from({ length: 10 }, (_, key) => message(`p-${key}`, 1)))
    const stream = await two.store.openStream(0)
    await stream.takeOver({ owner: 'first', leaseMs: 1_000 })
    expect(await two.store.pending()).toBe(10)
    await stream.close('stopped')
  })
})

test('retention says how many partitions are ready, and maintain: false leaves them alone', async () => {
  const count = async (one: Service): Promise<number> => (await one.query('select from tidemark.outbox_part')).length
  const shop = make('partitions', { outbox: { retention: { ahead: 9, everyMs: 10 } } })
  const passive = make('alone', { outbox: { maintain: false, retention: { ahead: 9, everyMs: 10 } } })
  await passive.start()
  const before = await count(passive)
  await shop.start()
  await until('partitions are made ahead', async () => (await count(shop)) >= 9)
  expect(before).toBeLessThan(9)
  expect(await count(passive)).toBe(before)
})

test('a start that fails by its consumers leaves no relay behind', async () => {
  // What can be told before is refused by consume: this name is none only when the consumer asks for it, after the relay was started.
  const deadLetterTopic = (): string => (new Error().stack?.includes('runConsumer') === true ? 'no name' : 'name')
  const twice = make('twice', { consumer: { deadLetterTopic } }).consume(Counted, () => undefined)
  await expect(twice.start()).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  const once = make('twice')
  await once.start()
  await until('the stream is free', async () => (await once.status()).outbox.relays[0]?.phase === 'owner', 5_000)
})

describe('the consumer', () => {
  test('retries and treats dead letters as the service says, and consume goes before', async () => {
    const shop = make('retryshop', { outbox: { idleMs: 5 } })
    const runs: string[] = []
    const billing = make('retrybilling', {
      consumer: { retry: { maxAttempts: 2, baseDelayMs: 1, maxDelayMs: 1 }, deadLetter: 'skip' },
    })
    const failing = (
      kind: string,
      { name, value }: { readonly name: string; readonly value: number },
      { attempt }: HandlerContext,
    ): void => {
      if (!name.startsWith('retry-')) return
      runs.push(`${kind} ${value} attempt ${attempt}`)
      if (value === 1) throw new Error('never')
    }
    billing.consume(Counted, { startFrom: 'latest' }, ({ data }, context) => failing('counted', data, context))
    billing.consume(Named, { startFrom: 'latest', deadLetter: 'block' }, ({ data }, context) => failing('named', data, context))
    await billing.start()
    await until('its place in the log is fixed', async () => (await billing.status()).groups[0]!.consumer!.partitions.length === 4)
    await shop.start()
    for (const value of [1, 2]) {
      await shop.transaction(async (tx) => {
        await shop.publish(tx, Counted, { name: 'retry-a', value })
        await shop.publish(tx, Named, { name: 'retry-a', value })
      })
    }
    await settled([shop, billing])
    for (const kind of ['counted', 'named']) {
      expect(new Set(runs.filter((run) => run.startsWith(`${kind} 1`)))).toEqual(new Set([`${kind} 1 attempt 1`, `${kind} 1 attempt 2`]))
    }
    // `skip` goes on behind the dead letter, `block` keeps what is behind it in a queue.
    expect(runs).toContain('counted 2 attempt 1')
    expect(runs).not.toContain('named 2 attempt 1')
    expect((await billing.status()).groups[0]!.consumer!.counts).toMatchObject({ deadLetters: 2, parked: 2 })
  })

  test('takes batches no larger than the service says', async () => {
    const shop = make('batchshop', { outbox: { idleMs: 5 } })
    const sizes: number[] = []
    const batches = make('batches', { consumer: { batch: { maxMessages: 3 }, lanes: 1 } })
    batches.consume(Counted, { batch: true }, (messages) => void sizes.push(messages.length))
    await shop.transaction((tx) =>
      shop.publishAll(
        tx,
        Array.from({ length: 40 }, (_, value) => ({ event: Counted, data: { name: 'batch', value } })),
      ),
    )
    await shop.start()
    await shop.settled()
    await batches.start()
    await settled([shop, batches])
    expect(Math.max(...sizes)).toBe(3)
  })
})
