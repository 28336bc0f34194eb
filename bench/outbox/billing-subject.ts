import { service } from 'tidemark'
import { postgres, postgresBroker } from 'tidemark/postgres'
import { insertInvoice, invoiceValues } from '../consume/invoices.ts'
import { serveSubject } from '../harness/subject.ts'
import { OrderPlaced } from '../orders/order-placed.ts'

export interface BillingInput {
  readonly database: string
  readonly log: string
}

/** The consuming process of the latency runs: one insert for each order. */
serveSubject(({ database, log }: BillingInput) => {
  const broker = postgresBroker({ connectionString: log })
  const billing = service('billing', { database: postgres({ connectionString: database }), broker })
  billing.consume(OrderPlaced, async (order, { tx }) => {
    await tx.query(insertInvoice, invoiceValues(order.data))
  })
  return {
    prepare: () => billing.start(),
    /** Resolves when all that is in the log has been handled. */
    async run() {
      await billing.settled()
      return {}
    },
    async stop() {
      await billing.stop()
      await broker.close()
    },
  }
})
