import { setTimeout as delay } from 'node:timers/promises'
import { debeziumVersion } from '../../servers/jar-sets.ts'
import { checkInvoices, createInvoiceTable } from '../consume/invoices.ts'
import { ownVersion } from '../harness/installed-version.ts'
import { withDatabases } from '../harness/scratch-databases.ts'
import { startSubject } from '../harness/start-subject.ts'
import { commitToEffect, commitToEffectSamples } from '../outbox/latency.ts'
import { checkPurchases, createPurchaseTable } from '../outbox/purchases.ts'
import { debeziumOutbox, dropSlot, makeSlot, startWorker } from './debezium.ts'
import { topicOf } from './purchase-placed.ts'
import { storePurchases } from './store-purchases.ts'
import { checkTopic } from './topic-check.ts'
import type { Contender } from '../harness/rounds.ts'
import type { Sample } from '../harness/result.ts'
import type { Server } from '../harness/server.ts'
import type { Arrivals } from '../outbox/latency.ts'
import type { BenchBroker } from './broker.ts'
import type { DebeziumSettings } from './debezium.ts'
import type { LatencyBillingInput } from './latency-billing-subject.ts'
import type { LatencyShopInput } from './latency-shop-subject.ts'

let runs = 0
/** Messages before those that count. */
const warmUp = 50
const longestWarmUpMs = 60_000

/** Our relay in the publishing process → Kafka → our consumer in another process and database. */
export function latencyContender(server: Server, broker: BenchBroker, arrivals: Arrivals): Contender {
  return {
    name: `tidemark, commit to effect, ${arrivals.name}`,
    measure: () =>
      withDatabases(server, ['shop', 'billing'], ({ shop, billing }) => {
        const aggregate = `placed_${(runs += 1)}`
        return broker.withTopics([topicOf(aggregate)], () =>
          commitsToEffects(server, broker, { system: 'tidemark', version: ownVersion(), shop, billing, aggregate, arrivals, relay: true }),
        )
      }),
  }
}

/** The same, but that Debezium relays. */
export function debeziumLatencyContender(
  server: Server,
  broker: BenchBroker,
  arrivals: Arrivals,
  system: string,
  settings: DebeziumSettings,
): Contender {
  return {
    name: `${system}, commit to effect, ${arrivals.name}`,
    measure: () =>
      withDatabases(server, ['shop', 'billing'], async ({ shop, billing }) => {
        const aggregate = `placed_${(runs += 1)}`
        const outbox = await debeziumOutbox(shop)
        await storePurchases(broker.client, { database: shop, aggregate, messages: 0 }, () => makeSlot(server, shop, outbox))
        try {
          return await broker.withTopics([topicOf(aggregate), ...outbox.topics], async () => {
            await using connect = await startWorker(broker, settings)
            await connect.createConnector(outbox.name, { ...outbox.config, ...settings.config })
            return await commitsToEffects(server, broker, {
              system,
              version: debeziumVersion,
              shop,
              billing,
              aggregate,
              arrivals,
              relay: false,
            })
          })
        } finally {
          await dropSlot(server, shop, outbox.slot)
        }
      }),
  }
}

interface Path {
  readonly system: string
  readonly version: string
  readonly shop: string
  readonly billing: string
  readonly aggregate: string
  readonly arrivals: Arrivals
  readonly relay: boolean
}

async function commitsToEffects(server: Server, broker: BenchBroker, path: Path): Promise<Sample[]> {
  const { system, version, shop, billing, aggregate, arrivals, relay } = path
  const { perSecond } = arrivals
  const messages = warmUp + arrivals.messages
  await createPurchaseTable(server, shop)
  await createInvoiceTable(server, billing)
  const common = { brokers: broker.addresses, aggregate, messages }
  const consumer = startSubject(new URL('./latency-billing-subject.ts', import.meta.url), {
    ...common,
    database: billing,
  } satisfies LatencyBillingInput)
  const producer = startSubject(new URL('./latency-shop-subject.ts', import.meta.url), {
    ...common,
    database: shop,
    perSecond,
    warmUp,
    relay,
  } satisfies LatencyShopInput)
  try {
    await consumer.perform('prepare')
    await producer.perform('prepare')
    await untilEffects(server, billing, warmUp)
    await server.settle([shop, billing])
    const { figures } = await producer.perform('run')
    await consumer.perform('run')
    await producer.perform('stop')
    await consumer.perform('stop')
    await checkPurchases(server, shop, messages)
    await checkInvoices(server, billing, messages)
    await checkTopic(broker.client, topicOf(aggregate), messages, { ordered: false })
    const times = await commitToEffect(server, shop, billing)
    return commitToEffectSamples({ system, version }, arrivals.name, times.slice(warmUp), figures['perSecond']!)
  } finally {
    await Promise.all([producer.end(), consumer.end()])
  }
}

async function untilEffects(server: Server, billing: string, expected: number): Promise<void> {
  const deadline = performance.now() + longestWarmUpMs
  for (;;) {
    const [row] = await server.query<{ effects: number }>(billing, 'select count(*)::int as effects from invoices')
    if (row?.effects === expected) return
    if (performance.now() > deadline) throw new Error(`${String(row?.effects)} of the first ${expected} messages had their effect`)
    await delay(50)
  }
}
