import { randomUUID } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { event, service } from 'tidemark'
import { once } from 'tidemark/inbox'
import { memory, memoryBroker } from 'tidemark/memory'
import { type PostgresBroker, postgres, postgresBroker } from 'tidemark/postgres'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const { connectionString } = await testDatabase('horizon')
const day = 24 * 3_600_000
const broker: PostgresBroker = postgresBroker({ connectionString: connectionString() })
afterAll(() => broker.close())

const Seen = event('Seen', { aggregate: 'thing', key: ({ key }) => key, schema: z.object({ key: z.string() }) })
const database = () => postgres({ connectionString: connectionString() })

/** A record of somebody who is not ours. */
async function sendForeign(): Promise<void> {
  const claim = { sourceEpoch: `${randomUUID()}.1`, generation: 1, stream: 0, epoch: 1, topics: [Seen.topic] }
  const appender = await broker.appender(claim)
  const headers = [
    ['ce_id', randomUUID()],
    ['ce_source', '/legacy'],
    ['ce_type', 'Seen'],
  ] as const
  const value = Buffer.from('{"key":"a"}')
  await appender.append([{ topic: Seen.topic, partition: 0, key: Buffer.from('a'), value, headers, coordinate: null }])
  await appender.close()
}

function reader(dedupMs: number, idempotent: 'inbox' | 'natural' = 'inbox') {
  const topics = [{ name: Seen.topic, partitions: 1, retentionMs: 3 * day }]
  return service('reader', { database: database(), broker, topics, consumer: { dedupMs } }).consume(Seen, { idempotent }, () => undefined)
}

test('a topic that is kept for longer than ids are remembered is told in the status and, once messages without coordinates came, at the start', async () => {
  const told: unknown[] = []
  const listen = (message: unknown): void => void told.push(message)
  subscribe('tidemark:inbox:horizon', listen)
  onTestFinished(() => void unsubscribe('tidemark:inbox:horizon', listen))

  const first = reader(day)
  await first.start()
  const excess = { what: 'topic', topic: Seen.topic, retentionMs: 3 * day }
  expect((await first.status()).horizon).toEqual({
    recognisedMs: day,
    rememberedSince: null,
    exceededBy: [{ ...excess, producedWith: 'unknown' }],
  })
  await sendForeign()
  await first.settled()
  expect((await first.status()).horizon.exceededBy).toEqual([{ ...excess, producedWith: 'id' }])
  await first.stop()
  expect(told).toEqual([])

  const second = reader(day)
  await second.start()
  await second.stop()
  expect(told).toEqual([{ service: 'reader', recognisedMs: day, rememberedSince: null, exceededBy: [{ ...excess, producedWith: 'id' }] }])

  const longEnough = reader(3 * day)
  expect((await longEnough.status()).horizon.exceededBy).toEqual([])
  await longEnough.stop()
  const natural = reader(day, 'natural')
  expect((await natural.status()).horizon.exceededBy).toEqual([])
  await natural.stop()
})

test.each([
  ['memory', () => ({ database: memory(), broker: memoryBroker() })],
  ['postgres', () => ({ database: database(), broker })],
])(
  'a handler on %s makes its outside call once, though it runs twice, and the service forgets what has expired',
  async (_name, platform) => {
    const calls: string[] = []
    let runs = 0
    const Paid = event(`Paid${_name}`, { aggregate: 'payment', key: () => 'k', schema: z.object({}) })
    const billing = service('billing', { ...platform(), consumer: { retry: { baseDelayMs: 1 } } })
    onTestFinished(() => billing.stop())
    billing.consume(Paid, async (message, { signal }) => {
      runs += 1
      const charge = async ({ key }: { readonly key: string }): Promise<{ n: number }> => ({ n: calls.push(key) })
      expect(await once(billing.ledger, message, 'charge', charge, { signal })).toEqual({ n: 1 })
      if (runs === 1) throw new Error('after the call')
    })
    const old = { scope: 'billing', identity: 'long ago', step: 'charge' }
    const { entry } = await billing.ledger.store.begin(old, { fingerprint: null, leaseMs: 1, keepMs: 1 })
    await billing.ledger.store.change(old, entry.token, { to: 'done', response: { format: 'none', body: Buffer.alloc(0) }, keepMs: -1 })
    await billing.start()
    await until('what has expired is forgotten', async () => (await billing.ledger.store.counts()).length === 0)
    await billing.transaction((tx) => billing.publish(tx, Paid, {}))
    await until('it ran twice', () => runs === 2)
    await billing.settled()
    expect(calls).toHaveLength(1)
    expect(await billing.ledger.store.counts()).toEqual([{ scope: 'billing', state: 'done', entries: 1 }])
  },
)
