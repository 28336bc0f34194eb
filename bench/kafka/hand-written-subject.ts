/**
 * What teams write on the same client: a dedup row for each message, in the transaction that has the effect, and offsets committed afterwards.
 *
 * @module
 */
import { Consumer, stringDeserializers } from '@platformatic/kafka'
import type { Message, MessagesStream } from '@platformatic/kafka'
import pg from 'pg'
import { EffectWatch } from '../consume/effect-watch.ts'
import { insertInvoice, insertInvoices, invoiceValues, invoiceValuesOf } from '../consume/invoices.ts'
import { serveSubject } from '../harness/subject.ts'
import type { ConsumeInput } from '../consume/effect-watch.ts'
import type { Purchase } from './purchase.ts'

export interface HandWrittenSettings {
  readonly brokers: readonly string[]
  readonly topic: string
  /**
   * `one by one`: a transaction for each message. `partitions`: the same, with the partitions at once, each on a connection of its own.
   * `batches`: a transaction for up to 500 messages, with one statement for the dedup rows and one for the effects.
   */
  readonly way: 'one by one' | 'partitions' | 'batches'
}

type Placed = Message<string, string, string, string>
type Stream = MessagesStream<string, string, string, string>

const createHandled = 'create table handled (message_id text primary key)'
const insertHandled = 'insert into handled (message_id) values ($1) on conflict do nothing'
const insertAllHandled = 'insert into handled (message_id) select unnest($1::text[]) on conflict do nothing returning message_id'
const batchSize = 500
/** The dedup rows make repeats harmless, so an offset need not be committed for every message. Doing that takes most of the loop's time. */
const messagesPerCommit = 100

serveSubject((input: ConsumeInput<HandWrittenSettings>) => {
  const { brokers, topic, way } = input.settings
  const watch = new EffectWatch(input)
  const pool = new pg.Pool({ connectionString: input.database, max: 8 })
  const consumer = new Consumer({
    groupId: `billing-${process.pid}`,
    clientId: 'billing',
    bootstrapBrokers: [...brokers],
    deserializers: stringDeserializers,
  })
  let stream: Stream | undefined
  const last = new Map<number, Placed>()
  let handled = 0
  let working = Promise.resolve()

  const inTransaction = async (work: (client: pg.PoolClient) => Promise<void>): Promise<void> => {
    const client = await pool.connect()
    try {
      await client.query('begin')
      await work(client)
      await client.query('commit')
    } catch (error) {
      await client.query('rollback')
      throw error
    } finally {
      client.release()
    }
  }

  const handle = async (message: Placed): Promise<void> => {
    watch.begun(1)
    await inTransaction(async (client) => {
      const { rowCount } = await client.query(insertHandled, [idOf(message)])
      if (rowCount === 1) await client.query(insertInvoice, invoiceValues(JSON.parse(message.value) as Purchase))
    })
    handled += 1
    last.set(message.partition, message)
    if (handled % messagesPerCommit === 0) await commit()
  }

  /** Offsets of what has been handled; the last one of a partition stands for all before it. */
  const commit = async (): Promise<void> => {
    const messages = [...last.values()]
    last.clear()
    await Promise.all(messages.map(async (message) => message.commit()))
  }

  const handleBatch = async (messages: readonly Placed[]): Promise<void> => {
    watch.begun(messages.length)
    await inTransaction(async (client) => {
      const { rows } = await client.query<{ message_id: string }>(insertAllHandled, [messages.map(idOf)])
      const fresh = new Set(rows.map((row) => row.message_id))
      const purchases = messages.filter((message) => fresh.has(idOf(message))).map(({ value }) => JSON.parse(value) as Purchase)
      await client.query(insertInvoices, invoiceValuesOf(purchases))
    })
    for (const message of messages) last.set(message.partition, message)
    await commit()
  }

  const work = {
    async 'one by one'(from: Stream) {
      for await (const message of from) await handle(message)
    },
    async partitions(from: Stream) {
      const chains = new Map<number, Promise<void>>()
      const waiting = new Set<Promise<void>>()
      for await (const message of from) {
        const next = (chains.get(message.partition) ?? Promise.resolve()).then(() => handle(message))
        chains.set(message.partition, next)
        waiting.add(next)
        void next.then(() => waiting.delete(next))
        // Memory stays bounded, and every partition has something to do.
        if (waiting.size >= 1_000) await waiting.values().next().value
      }
    },
    async batches(from: Stream) {
      let batch: Placed[] = []
      for await (const message of from) {
        batch.push(message)
        if (batch.length < batchSize && from.readableLength > 0) continue
        await handleBatch(batch)
        batch = []
      }
    },
  }[way]

  return {
    async prepare() {
      await watch.open()
      await pool.query(createHandled)
    },
    run: () =>
      watch.measure(async () => {
        stream = await consumer.consume({ topics: [topic], mode: 'committed', fallbackMode: 'earliest', autocommit: false })
        working = work(stream)
      }),
    async stop() {
      await commit()
      await stream?.close()
      await working
      await consumer.close()
      await pool.end()
      await watch.close()
    },
  }
})

function idOf({ headers }: Placed): string {
  return headers.get('id')!
}
