import { randomUUID } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { event, service } from 'tidemark'
import { expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { memory, memoryBroker } from '../../src/drivers/memory/index.ts'
import { postgres, postgresBroker } from '../../src/drivers/postgres/index.ts'
import type { Broker } from '../../src/message/port.ts'
import { watchSplitKeys } from '../../src/service/split-keys.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const { connectionString } = await testDatabase('split_keys')
const Seen = event('Seen', { aggregate: 'thing', key: ({ key }) => key, schema: z.object({ key: z.string() }) })

const platforms = {
  memory: () => {
    const database = memory()
    return { database: () => database, broker: memoryBroker() }
  },
  postgres: () => ({
    database: () => postgres({ connectionString: connectionString() }),
    broker: postgresBroker({ connectionString: connectionString() }),
  }),
}

/** As a sender does that chooses the partition of a key in another way. */
async function send(broker: Broker, partition: number, key: string): Promise<void> {
  const claim = { sourceEpoch: `${randomUUID()}.1`, generation: 1, stream: 0, epoch: 1, topics: [Seen.topic] }
  const appender = await broker.appender(claim)
  const headers = [
    ['ce_id', randomUUID()],
    ['ce_source', '/legacy'],
    ['ce_type', 'Seen'],
  ] as const
  const value = Buffer.from(JSON.stringify({ key }))
  await appender.append([{ topic: Seen.topic, partition, key: Buffer.from(key), value, headers, coordinate: null }])
  await appender.close()
}

function heard(): unknown[] {
  const told: unknown[] = []
  const listen = (message: unknown): void => void told.push(message)
  subscribe('tidemark:consumer:split-keys', listen)
  onTestFinished(() => void unsubscribe('tidemark:consumer:split-keys', listen))
  return told
}

test.each(['memory', 'postgres'] as const)(
  'on %s a key that waits in two partitions is in the status, and told on the channel',
  async (name) => {
    const { database, broker } = platforms[name]()
    const reader = () =>
      service('reader', { database: database(), broker, partitions: 3, consumer: { retry: { maxAttempts: 1 } } }).consume(
        Seen,
        ({ data }) => {
          if (data.key !== 'good') throw new RangeError('cannot be handled')
        },
      )
    const first = reader()
    expect((await first.status()).findings).toEqual([{ finding: 'no-owner', group: 'reader' }])
    await first.start()
    await send(broker, 0, 'a')
    await send(broker, 1, 'b')
    for (const partition of [0, 2]) await send(broker, partition, 'good')
    await first.settled()
    expect((await first.status()).groups).toMatchObject([{ group: 'reader', splitKeys: [] }])
    await send(broker, 2, 'a')
    await first.settled()
    const split = { topic: Seen.topic, keys: 1, partitions: [0, 2] }
    // Where it took long to look, the status has what was seen a moment ago.
    await until('the status has it', async () => (await first.status()).groups[0]!.splitKeys.length > 0)
    expect(await first.status()).toMatchObject({
      groups: [{ group: 'reader', owner: null, splitKeys: [split] }],
      findings: [
        { finding: 'no-owner', group: 'reader' },
        { finding: 'split-keys', group: 'reader' },
      ],
    })
    await first.stop()

    const told = heard()
    const second = reader()
    await second.start()
    await until('it is told', () => told.length > 0)
    expect(told).toEqual([{ service: 'reader', group: 'reader', ...split }])
    await second.stop()
    await broker.close()
  },
)

test('what stays as it is, is told once; what has changed or is over, again; a look that fails, at the next one', async () => {
  const told = heard()
  let looks = 0
  const topic = (name: string, keys: number) => ({ topic: name, topicId: name, keys, partitions: [0, 1], examples: [] })
  const found = [[topic('one', 1)], [topic('one', 1)], null, [topic('one', 2), topic('two', 1)], [topic('two', 1)]]
  const splitKeys = async () => {
    const now = found[Math.min(looks++, found.length - 1)]
    if (now === null) throw new Error('the database is away')
    return now!
  }
  const watch = watchSplitKeys({ service: 'reader', groups: ['g'], parked: { splitKeys }, everyMs: 1 })
  await until('it has looked often', () => looks > found.length + 3)
  await watch.stop()
  const seen = looks
  const line = (name: string, keys: number) => ({ service: 'reader', group: 'g', topic: name, keys, partitions: keys === 0 ? [] : [0, 1] })
  expect(told).toEqual([line('one', 1), line('one', 2), line('two', 1), line('one', 0)])
  expect(looks).toBe(seen)
})
