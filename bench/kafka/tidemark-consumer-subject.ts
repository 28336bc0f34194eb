import { service } from 'tidemark'
import { kafka } from 'tidemark/kafka'
import { postgres } from 'tidemark/postgres'
import { EffectWatch } from '../consume/effect-watch.ts'
import { insertInvoice, insertInvoices, invoiceValues, invoiceValuesOf } from '../consume/invoices.ts'
import { serveSubject } from '../harness/subject.ts'
import { purchasePlaced } from './purchase-placed.ts'
import type { ConsumeInput } from '../consume/effect-watch.ts'

export interface TidemarkConsumerSettings {
  readonly brokers: readonly string[]
  readonly aggregate: string
  /** The handler gets one message and makes one insert; or gets many and inserts them by one statement. */
  readonly handler: 'message' | 'batch'
}

serveSubject((input: ConsumeInput<TidemarkConsumerSettings>) => {
  const { database, settings } = input
  const watch = new EffectWatch(input)
  const broker = kafka({ brokers: settings.brokers })
  const billing = service('billing', { database: postgres({ connectionString: database }), broker, group: `billing-${process.pid}` })
  const placed = purchasePlaced(settings.aggregate)

  if (settings.handler === 'message') {
    billing.consume(placed, async (purchase, { tx }) => {
      watch.begun(1)
      await tx.query(insertInvoice, invoiceValues(purchase.data))
    })
  } else {
    billing.consume(placed, { batch: true }, async (purchases, { tx }) => {
      watch.begun(purchases.length)
      await tx.query(insertInvoices, invoiceValuesOf(purchases.map((purchase) => purchase.data)))
    })
  }

  return {
    async prepare() {
      await watch.open()
      // Makes the tables and connects, as the loops written by hand have by now.
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
