import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { PostgresConsumerStore } from '../../src/drivers/postgres/postgres-consumer-store.ts'
import { event, jsonCodec } from '../../src/message/index.ts'
import { onMessage } from '../../src/consumer/index.ts'
import { TidemarkError } from '../../src/index.ts'
import {
  Counted,
  byKey,
  consumerDatabase,
  countedRecord,
  insertEffect,
  memoryTopic,
  sequence,
  settledAll,
} from '../consumer/support/consumer-database.ts'
import { FaultProxy } from '../support/fault-proxy.ts'
import { until } from '../support/until.ts'
import { counting } from './support/counting.ts'

/** A parked message that is run, and by nobody's fault not done: it is given back, nobody counts it as a crash, and somebody hears of it. */

const { url, store, consume, effects, rows, reset } = await consumerDatabase('uncharged')
const target = new URL(url)
const proxy = await FaultProxy.start(() => ({ host: target.hostname, port: Number(target.port) }))
const behindProxy = new URL(url)
behindProxy.hostname = '127.0.0.1'
behindProxy.port = String(proxy.port)
const breakable = new PostgresDatabase({ connectionString: behindProxy.href, maxConnections: 8 })
afterAll(async () => {
  await breakable.close()
  await proxy.close()
})

interface Trouble {
  readonly what: string
  readonly error: string
}
const troubles: Trouble[] = []
const rollbacks: { readonly lane: number | null; readonly reason: string }[] = []
const hearTrouble = (fact: unknown): void => void troubles.push(fact as Trouble)
const hearRollback = (fact: unknown): void => void rollbacks.push(fact as (typeof rollbacks)[number])

beforeEach(async () => {
  await reset()
  proxy.rules = {}
  for (const heard of [troubles, rollbacks]) heard.length = 0
  subscribe('tidemark:consumer:trouble', hearTrouble)
  subscribe('tidemark:consumer:rollback', hearRollback)
})
afterEach(() => {
  unsubscribe('tidemark:consumer:trouble', hearTrouble)
  unsubscribe('tidemark:consumer:rollback', hearRollback)
})

const away = (): Error => Object.assign(new Error('away'), { code: 'ECONNREFUSED' })
const crashes = async (): Promise<readonly number[]> =>
  (await rows<{ crashes: number }>('select crashes from tidemark.parked_key')).map((row) => row.crashes)
const parkedNow = () => until('it is parked', async () => (await crashes()).length === 1)
const letters = () => rows('select error_class from tidemark.dead_letter')

test('crashes that were noted of a key are forgotten when it was run and given back', async () => {
  const { broker, send } = await memoryTopic(1)
  let isAway = false
  let runs = 0
  const failing = counting(() => {
    runs += 1
    if (isAway) throw away()
    if (runs === 1) throw new Error('parked')
  })
  const retry = { baseDelayMs: 1, maxDelayMs: 1, maxAttempts: 3, immediate: 0 }
  const first = consume(broker, [failing], { retriers: 0, retry, breaker: false })
  await send([countedRecord('k', 0)])
  await parkedNow()
  await first.stop()
  // As two leases that were lost in two outages of the database.
  await rows('update tidemark.parked_key set crashes = 2')
  isAway = true
  await using consumer = consume(broker, [failing], { retry, breaker: { outageKeys: 1, probeAfterMs: 5, maxProbeAfterMs: 10 } })
  await until('it was run', () => runs > 1)
  await until('nothing is held against it', async () => (await crashes())[0] === 0)
  isAway = false
  await settledAll(consumer, broker)
  expect(Object.fromEntries(byKey(await effects()))).toEqual({ k: [0] })
  expect(await letters()).toEqual([])
  expect(rollbacks).toContainEqual(expect.objectContaining({ lane: null, reason: 'held' }))
})

test('a key is given back when the database answers again, long before its lease is over, and that is told', async () => {
  const { broker, send } = await memoryTopic(1)
  let runs = 0
  let cuts = 0
  const cutting = counting(() => {
    runs += 1
    if (runs === 1) throw new Error('parked')
    if (cuts === 2) return
    cuts += 1
    // Whoever asks the server for something finds the connection broken, until it has been asked a few times.
    let left = 8
    proxy.rules = {
      toServer: (_, connection) => {
        if (left-- > 0) connection.reset()
      },
    }
    proxy.resetAll()
  })
  await send([countedRecord('k', 0), countedRecord('k', 1)])
  const settings = { retry: { baseDelayMs: 1, maxDelayMs: 1, maxAttempts: 2, immediate: 0 }, retryLeaseMs: 60_000, breaker: false as const }
  await using consumer = consume(broker, [cutting], { store: new PostgresConsumerStore({ database: breakable }), ...settings })
  await until('all is handled', async () => (await effects()).length === 2)
  expect(Object.fromEntries(byKey(await effects()))).toEqual({ k: [0, 1] })
  expect(await letters()).toEqual([])
  expect(consumer.status().counts.uncharged).toBeGreaterThan(0)
  expect(rollbacks).toContainEqual(expect.objectContaining({ lane: null, reason: 'unavailable' }))
  expect(troubles.map(({ what }) => what)).toContain('retry')
})

test('a key that cannot be tried is told of: in the status, and to who listens', async () => {
  const { broker, send } = await memoryTopic(1)
  let isAway = false
  const codec = {
    ...jsonCodec,
    decode: (bytes: Buffer, contentType: string | null): unknown => {
      if (isAway) throw new TidemarkError('SCHEMA_UNAVAILABLE', 'the registry is away')
      return jsonCodec.decode(bytes, contentType)
    },
  }
  const Read = event('Counted', { aggregate: 'counter', key: ({ key }) => key, schema: Counted.schema, codec })
  let runs = 0
  const handler = onMessage(Read, async ({ id, data }, { tx }) => {
    if (runs++ === 0) {
      isAway = true
      throw new Error('parked')
    }
    await tx.query(insertEffect, [id, data.key, data.n])
  })
  await send([countedRecord('k', 0)])
  await using consumer = consume(broker, [handler], { retry: { baseDelayMs: 1, maxAttempts: 2, immediate: 0 } })
  await until('it is told', () => troubles.some(({ what, error }) => what === 'retry' && error.includes('SCHEMA_UNAVAILABLE')))
  expect(consumer.status().trouble).toContain('SCHEMA_UNAVAILABLE')
  expect(rollbacks).toContainEqual(
    expect.objectContaining({ topic: Counted.topic, partition: 0, lane: null, reason: 'unavailable', errorClass: 'SCHEMA_UNAVAILABLE' }),
  )
  expect(await letters()).toEqual([])
  isAway = false
  await settledAll(consumer, broker)
  expect(consumer.status().trouble).toBeNull()
  expect(Object.fromEntries(byKey(await effects()))).toEqual({ k: [0] })
  expect(consumer.status().counts.retries).toBe(1)
})

test('a key that was leased and not run keeps what is noted of it', async () => {
  const { broker, send } = await memoryTopic(1)
  const failing = counting(() => {
    throw new Error('parked')
  })
  await send(sequence(3).map((k) => countedRecord(`k${k}`, 0)))
  const first = consume(broker, [failing], { retriers: 0, retry: { baseDelayMs: 1, maxDelayMs: 1, maxAttempts: 9, immediate: 0 } })
  await until('all are parked', async () => (await crashes()).length === 3)
  await first.stop()
  await rows('update tidemark.parked_key set crashes = 2')
  let release = (): void => undefined
  const held = new Promise<void>((resolve) => (release = resolve))
  const seen: string[] = []
  const waiting = counting(async ({ data }) => {
    seen.push(data.key)
    await held
  })
  // They are suspects, so one runs; the others are given back, again and again.
  await using consumer = consume(broker, [waiting], { retriers: 4, retryPollMs: 5 })
  await until('one runs', () => seen.length === 1)
  await until('the others were leased and given back', async () => {
    const found = await rows<{ n: number }>(
      `select count(*)::int as n from tidemark.parked_key where lease is null and next_attempt_at > now() - interval '1 second'`,
    )
    return found[0]!.n === 2
  })
  expect(await crashes()).toEqual([2, 2, 2])
  release()
  await settledAll(consumer, broker)
  expect(await letters()).toEqual([])
  expect(await store.parked.waiting('test')).toBe(0)
})
