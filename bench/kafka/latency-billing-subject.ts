import { setTimeout as delay } from 'node:timers/promises'
import { service } from 'tidemark'
import { kafka } from 'tidemark/kafka'
import { postgres } from 'tidemark/postgres'
import { insertInvoice, invoiceValues } from '../consume/invoices.ts'
import { serveSubject } from '../harness/subject.ts'
import { purchasePlaced } from './purchase-placed.ts'

export interface LatencyBillingInput {
  readonly database: string
  readonly brokers: readonly string[]
  readonly aggregate: string
  readonly messages: number
}

/** The consuming process of the latency runs: one insert for each purchase, whoever relayed it. */
serveSubject(({ database, brokers, aggregate, messages }: LatencyBillingInput) => {
  const broker = kafka({ brokers })
  const billing = service('billing', { database: postgres({ connectionString: database }), broker, group: `billing-${process.pid}` })
  billing.consume(purchasePlaced(aggregate), async (placed, { tx }) => {
    await tx.query(insertInvoice, invoiceValues(placed.data))
  })
  const effects = async (): Promise<number> => {
    const [row] = await billing.query<{ effects: number }>('select count(*)::int as effects from invoices')
    return row?.effects ?? 0
  }
  return {
    prepare: () => billing.start(),
    /** Resolves when everything has had its effect. */
    async run() {
      while ((await effects()) < messages) await delay(50)
      return {}
    },
    async stop() {
      await billing.stop()
      await broker.close()
    },
  }
})
