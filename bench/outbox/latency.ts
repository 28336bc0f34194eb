import { checkInvoices, createInvoiceTable } from '../consume/invoices.ts'
import { ownVersion } from '../harness/installed-version.ts'
import { withDatabases } from '../harness/scratch-databases.ts'
import { startSubject } from '../harness/start-subject.ts'
import { percentile } from '../harness/statistics.ts'
import { checkPurchases, createPurchaseTable } from './purchases.ts'
import type { Sample } from '../harness/result.ts'
import type { Contender } from '../harness/rounds.ts'
import type { Server } from '../harness/server.ts'
import type { BillingInput } from './billing-subject.ts'
import type { ShopInput } from './shop-subject.ts'

export interface Arrivals {
  /** What the figures are called: idle or under load. */
  readonly name: string
  readonly perSecond: number
  readonly messages: number
}

/**
 * From the commit of a transaction to the commit of the effect in another service's database: publisher and consumer in two processes, the log in a
 * third database. Both times are Postgres' own commit times, joined by the order.
 */
export function latencyContender(server: Server, arrivals: Arrivals): Contender {
  const { messages, perSecond } = arrivals
  return {
    name: `commit to effect, ${arrivals.name}`,
    measure: () =>
      withDatabases(server, ['shop', 'billing', 'log'], async ({ shop, billing, log }) => {
        await createPurchaseTable(server, shop)
        await createInvoiceTable(server, billing)
        const consumer = startSubject(new URL('./billing-subject.ts', import.meta.url), { database: billing, log } satisfies BillingInput)
        const producer = startSubject(new URL('./shop-subject.ts', import.meta.url), {
          database: shop,
          log,
          messages,
          perSecond,
        } satisfies ShopInput)
        try {
          await consumer.perform('prepare')
          await producer.perform('prepare')
          await server.settle([shop, billing, log])
          const { figures } = await producer.perform('run')
          await consumer.perform('run')
          await producer.perform('stop')
          await consumer.perform('stop')
          await checkPurchases(server, shop, messages)
          await checkInvoices(server, billing, messages)
          return commitToEffectSamples(
            { system: 'tidemark', version: ownVersion() },
            arrivals.name,
            await commitToEffect(server, shop, billing),
            figures['perSecond']!,
          )
        } finally {
          await Promise.all([producer.end(), consumer.end()])
        }
      }),
  }
}

/** What the times of one run come to. `name` is that of the arrivals. */
export function commitToEffectSamples(
  of: Pick<Sample, 'system' | 'version'>,
  name: string,
  times: readonly number[],
  arrivalsPerSecond: number,
): Sample[] {
  const sample = (metric: string, unit: string, value: number): Sample => ({ ...of, metric, unit, value })
  return [
    sample(`commit to effect, ${name}, p50`, 'ms', percentile(times, 0.5)),
    sample(`commit to effect, ${name}, p99`, 'ms', percentile(times, 0.99)),
    sample(`arrivals, ${name}`, 'transactions/s', arrivalsPerSecond),
  ]
}

/** Milliseconds for each order, between the commit times that Postgres keeps. */
export async function commitToEffect(server: Server, shop: string, billing: string): Promise<number[]> {
  const commits = (table: string): string =>
    `select order_id, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 * 1000 as ms from ${table} order by order_id`
  const purchases = await server.query<{ order_id: string; ms: number }>(shop, commits('purchases'))
  const invoices = new Map(
    (await server.query<{ order_id: string; ms: number }>(billing, commits('invoices'))).map((row) => [row.order_id, row.ms]),
  )
  return purchases.map((purchase) => {
    const effect = invoices.get(purchase.order_id)
    if (effect === undefined) throw new Error(`no effect for ${purchase.order_id}`)
    return effect - purchase.ms
  })
}
