import { service } from 'tidemark'
import { postgres, postgresBroker } from 'tidemark/postgres'
import { serveSubject } from '../harness/subject.ts'
import { OrderPlaced } from '../orders/order-placed.ts'
import { publishBacklog } from '../orders/publish-backlog.ts'
import { EffectWatch } from './effect-watch.ts'
import { insertInvoice, insertInvoices, invoiceValues, invoiceValuesOf } from './invoices.ts'
import type { ConsumeInput } from './effect-watch.ts'

export interface TidemarkSettings {
  /** The handler gets one message and makes one insert; or gets many and inserts them by one statement. */
  readonly handler: 'message' | 'batch'
}

/** Connection strings of the databases made for the run. */
interface Databases {
  readonly shop: string
  readonly log: string
}

serveSubject((input: ConsumeInput<TidemarkSettings & Databases>) => {
  const { database, messages, settings } = input
  const watch = new EffectWatch(input)
  const broker = postgresBroker({ connectionString: settings.log })
  const billing = service('billing', { database: postgres({ connectionString: database }), broker })

  if (settings.handler === 'message') {
    billing.consume(OrderPlaced, async (order, { tx }) => {
      watch.begun(1)
      await tx.query(insertInvoice, invoiceValues(order.data))
    })
  } else {
    billing.consume(OrderPlaced, { batch: true }, async (orders, { tx }) => {
      watch.begun(orders.length)
      await tx.query(insertInvoices, invoiceValuesOf(orders.map((order) => order.data)))
    })
  }

  return {
    async prepare() {
      await watch.open()
      await storeBacklog(settings, messages)
      // Migrates and connects, as the peers have by now.
      await billing.query('select 1')
    },
    run: () => watch.measure(() => billing.start()),
    async stop() {
      await billing.settled()
      await billing.stop()
      await broker.close()
      await watch.close()
    },
  }
})

/** The way a real backlog comes about: published in transactions, relayed to the log. */
async function storeBacklog({ shop, log }: Databases, messages: number): Promise<void> {
  const broker = postgresBroker({ connectionString: log })
  const producer = service('shop', { database: postgres({ connectionString: shop }), broker })
  await publishBacklog(producer, messages)
  await producer.start()
  await producer.settled()
  await producer.stop()
  await broker.close()
}
