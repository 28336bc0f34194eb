import { randomUUID } from 'node:crypto'
import { afterAll, afterEach } from 'vitest'
import { type Consumer, type ConsumerOptions, type Handler, onMessage, runConsumer } from '../../../src/consumer/index.ts'
import { MemoryBroker } from '../../../src/drivers/memory/index.ts'
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { migrate } from '../../../src/drivers/postgres/migrations/migrate.ts'
import { PostgresConsumerStore } from '../../../src/drivers/postgres/postgres-consumer-store.ts'
import type { Appender, Broker, Coordinate, Header, SequencedRecord } from '../../../src/message/index.ts'
import { partitionOf, recordHeaders } from '../../../src/message/index.ts'
import { until } from '../../support/until.ts'
import { testDatabase } from '../../support/postgres.ts'
import { Counted, effectTable, insertEffect } from './counted.ts'

export { Counted, insertEffect } from './counted.ts'

/** A handler with one insert. */
export const countEffect = onMessage(Counted, async (message, { tx }) => {
  await tx.query(insertEffect, [message.id, message.data.key, message.data.n])
})

/** Ids that are the same for the same message, so that a test can send it twice. */
export function idOf(key: string, n: number): string {
  return `00000000-0000-4000-8000-${Buffer.from(`${key}.${n}`).toString('hex').padStart(12, '0').slice(-12)}`
}

export interface RecordOptions {
  readonly partitions?: number
  readonly id?: string
  readonly type?: string
  readonly value?: Buffer
  readonly headers?: readonly Header[]
  /** `null`: no coordinate on the wire, as a foreign producer's. */
  readonly coordinate?: Coordinate | null
}

export function countedRecord(key: string, n: number, options: RecordOptions = {}): SequencedRecord {
  const { partitions = 1, id = idOf(key, n), type = 'Counted', coordinate = null } = options
  const payload = options.value ?? Buffer.from(JSON.stringify({ key, n }))
  const stored = { id, aggregateType: 'counter', aggregateId: key, type, payload, headers: { ce_source: '/test' } }
  const bytes = Buffer.from(key)
  const headers = options.headers ?? recordHeaders(stored, coordinate)
  return { topic: Counted.topic, partition: partitionOf(bytes, partitions), key: bytes, value: payload, headers, coordinate }
}

/** A coordinate of one stream, by its number. */
export function placeInStream(seq: number, tick = 1): Coordinate {
  return { sourceEpoch: 'test.1', generation: 1, stream: 0, tick, seq }
}

/** A broker in memory with the topic, and a sender that sends whatever it is told. */
export async function memoryTopic(
  partitions = 1,
): Promise<{ broker: MemoryBroker; send(records: readonly SequencedRecord[]): Promise<void> }> {
  const broker = new MemoryBroker()
  await broker.topics([{ name: Counted.topic, partitions }])
  let senders = 0
  return {
    broker,
    async send(records) {
      // A fresh stream each time, so that the broker takes repeats as a superseded sender's would come.
      const claim = { sourceEpoch: randomUUID(), generation: 1, stream: senders++, epoch: 1, topics: [Counted.topic] }
      const appender: Appender = await broker.appender(claim)
      await appender.append(records.map((record) => ({ ...record, coordinate: null })))
      await appender.close()
    },
  }
}

export interface ConsumerDatabase {
  readonly url: string
  readonly database: PostgresDatabase
  readonly store: PostgresConsumerStore
  /** Starts a consumer, which is stopped after the test at the latest. */
  consume(broker: Broker, handlers: readonly Handler[], options?: Partial<ConsumerOptions>): Consumer
  /** Waits until all partitions are handled to their ends by whoever owns them, as the rows tell. */
  settledByAny(broker: Broker): Promise<void>
  /** Empties the tables: nothing was handled yet. */
  reset(): Promise<unknown>
  effects(): Promise<readonly { readonly id: string; readonly key: string; readonly n: number }[]>
  rows<R extends Record<string, unknown>>(text: string, params?: readonly unknown[]): Promise<R[]>
}

/** A database with the tables of a service and the effects of handlers. Call it at the top level of the test file. */
export async function consumerDatabase(label: string): Promise<ConsumerDatabase> {
  const test = await testDatabase(label)
  const database = new PostgresDatabase({ connectionString: test.connectionString(), maxConnections: 8 })
  afterAll(() => database.close())
  await migrate(database, { set: 'service' })
  await database.query(effectTable)
  const store = new PostgresConsumerStore({ database })
  const started = new Set<Consumer>()
  // Also after a test that failed, so that the next one has the partitions for itself.
  afterEach(async () => {
    await Promise.all([...started].map((consumer) => consumer.stop()))
    started.clear()
  })
  return {
    url: test.connectionString(),
    database,
    store,
    consume(broker, handlers, options = {}) {
      const consumer = runConsumer({
        group: 'test',
        broker,
        store,
        handlers,
        retry: { baseDelayMs: 1, maxAttempts: 3 },
        idleAdvanceMs: 20,
        retryPollMs: 10,
        retryLeaseMs: 1_000,
        ...options,
      })
      waitingOf.set(consumer, () => store.parked.waiting(options.group ?? 'test'))
      started.add(consumer)
      return consumer
    },
    async settledByAny(broker) {
      const ends = await broker.offsets(Counted.topic, 'latest')
      await until('all positions at the ends', async () => {
        const found = await database.query<{ n: number }>(
          'select min(next_offset)::int as n from tidemark.consumer_position group by partition order by partition',
        )
        return found.length === ends.length && found.every(({ n }, i) => n >= ends[i]!)
      })
    },
    reset: () =>
      database.query(
        'truncate effect, tidemark.consumer_position, tidemark.inbox, tidemark.parked_key, tidemark.parked_msg, tidemark.dead_letter cascade',
      ),
    effects: () => database.query('select id, key, n from effect order by place'),
    rows: (text, params) => database.query(text, params),
  }
}

/** Waits until this process has settled the partitions up to these offsets. */
export function settled(consumer: Consumer, ends: readonly number[]): Promise<void> {
  return until(`partitions settled up to ${ends.join()}`, () =>
    ends.every((end, partition) => (consumer.settledUpTo(Counted.topic, partition) ?? -1) >= end),
  ).catch((error: unknown) => {
    throw new Error(`${String(error)} ${JSON.stringify(consumer.status())}`)
  })
}

/** What waits to be tried again. */
const waitingOf = new WeakMap<Consumer, () => Promise<number>>()

/** Waits until everything is handled, dead, or behind a dead letter. */
export async function settledAll(consumer: Consumer, broker: Broker): Promise<void> {
  await settled(consumer, await broker.offsets(Counted.topic, 'latest'))
  await until('nothing waits to be tried again', async () => (await waitingOf.get(consumer)?.()) === 0)
}

/** Of each key the numbers in the order of their effects. */
export function byKey(effects: readonly { readonly key: string; readonly n: number }[]): Map<string, number[]> {
  const keys = new Map<string, number[]>()
  for (const { key, n } of effects) keys.set(key, [...(keys.get(key) ?? []), n])
  return keys
}

export const sequence = (length: number, from = 0): number[] => Array.from({ length }, (_, i) => from + i)
