import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { service } from 'tidemark'
import { postgres, postgresBroker } from 'tidemark/postgres'
import { insertInvoice, invoiceValues } from '../consume/invoices.ts'
import { serveSubject } from '../harness/subject.ts'
import { OrderPlaced } from '../orders/order-placed.ts'
import { orderChunks } from '../orders/order.ts'
import { type FailureMode, customerOf, failsOnce, isParked } from './modes.ts'

interface Input {
  readonly database: string
  readonly shop: string
  readonly log: string
  readonly messages: number
  readonly mode: FailureMode
}

/** Consumes a stored backlog until every message has taken effect or waits with its key. */
serveSubject(({ database, shop, log, messages, mode }: Input) => {
  const broker = postgresBroker({ connectionString: log })
  // Parked keys are to stay so for the whole run.
  const retry = { baseDelayMs: 3_600_000, maxDelayMs: 3_600_000, jitter: 'none' } as const
  const topics = mode.retryTopics === true ? { retryTopics: { delaysMs: [3_600_000] } } : {}
  const billing = service('billing', { database: postgres({ connectionString: database }), broker, consumer: { retry, ...topics } })
  const failed = new Set<number>()
  const fail = (customer: string, number: number): void => {
    if (isParked(customer, mode)) throw new Error('this customer cannot be billed now')
    if (!failsOnce(number, mode) || failed.has(number)) return
    failed.add(number)
    throw new Error('the first time')
  }
  billing.consume(OrderPlaced, async ({ data }, { tx }) => {
    const number = Number(data.orderId.slice('order-'.length))
    if (mode.fails === 'before the effect') fail(data.customerId, number)
    await tx.query(insertInvoice, invoiceValues(data))
    if (mode.fails === 'after the effect') fail(data.customerId, number)
  })
  const client = new pg.Client({ connectionString: database })
  return {
    async prepare() {
      await client.connect()
      const producer = service('shop', { database: postgres({ connectionString: shop }), broker })
      for (const orders of orderChunks(messages, 500)) {
        await producer.transaction(async (tx) => {
          for (const order of orders) {
            const number = Number(order.orderId.slice('order-'.length))
            await producer.publish(tx, OrderPlaced, { ...order, customerId: customerOf(number, order.customerId, mode) })
          }
        })
      }
      await producer.start()
      await producer.settled()
      await producer.stop()
      await billing.query('select 1')
    },
    async run() {
      const from = performance.now()
      await billing.start()
      const isDone = async (): Promise<boolean> => {
        const { rows } = await client.query<{ n: number }>(
          `select (select count(*) from invoices)::int + (select coalesce(sum(messages), 0) from tidemark.parked_key)::int
            + (select count(*) from tidemark.outbox)::int as n`,
        )
        return rows[0]!.n >= messages
      }
      while (!(await isDone())) await delay(5)
      return { seconds: (performance.now() - from) / 1000 }
    },
    async stop() {
      await billing.stop()
      await broker.close()
      await client.end()
    },
  }
})
