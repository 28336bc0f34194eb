import { event, service } from 'tidemark'
import { once } from 'tidemark/inbox'
import { memoryBroker } from 'tidemark/memory'
import { embedded, postgres, updateVersion } from 'tidemark/postgres'
import { handledTwice, testMessage } from 'tidemark/testing'
import { z } from 'zod'

const server = await embedded().acquire()
const name = `idempotency_example_${process.pid}`
await server.ensureDatabase(name)
const database = postgres({ connectionString: server.connectionString(name) })
const broker = memoryBroker()
const shop = service('shop', { database, broker, consumer: { retry: { baseDelayMs: 1 } } })

const schema = z.object({ orderId: z.string() })
const key = ({ orderId }: { readonly orderId: string }): string => orderId
const OrderPlaced = event('OrderPlaced', { aggregate: 'order', key, schema })
const OrderShipped = event('OrderShipped', { aggregate: 'shipping', key, schema })
const StatusChanged = event('StatusChanged', { aggregate: 'status', key, schema: schema.extend({ status: z.string() }) })
const RefundRequested = event('RefundRequested', { aggregate: 'refund', key, schema })

await shop.query('create table invoices (order_id text)')
await shop.query('create table shipments (order_id text primary key, state text)')
await shop.query('create table history (place serial, line text)')
await shop.query(`create table orders as select 'o-1' as id, 'placed' as status, 1 as version`)

// 1 · The dedup table, in the handler's transaction: nothing to do.
// #region inbox
shop.consume(OrderPlaced, async (order, { tx }) => {
  await tx.query('insert into invoices values ($1)', [order.data.orderId])
})
// #endregion inbox

// 2 · Idempotent by nature: said to the consumer, which then remembers nothing, and checked in a test.
// #region natural
shop.consume(OrderShipped, { idempotent: 'natural' }, async (order, { tx }) => {
  await tx.query(`insert into shipments values ($1, 'shipped') on conflict (order_id) do update set state = excluded.state`, [
    order.data.orderId,
  ])
})
// #endregion natural
// #region handled-twice
await handledTwice({
  on: shop,
  message: testMessage(OrderPlaced, { orderId: 'o-0' }),
  handler: async (order, { tx }) => void (await tx.query('insert into invoices values ($1)', [order.data.orderId])),
}).catch((error: Error) => console.log(error.message))
// #endregion handled-twice
await shop.query('truncate invoices')

// 3 · Updates that compare versions.
// #region version
shop.consume(StatusChanged, { idempotent: 'natural' }, async ({ data, aggregateVersion }, { tx }) => {
  const row = { table: 'orders', key: { id: data.orderId }, version: aggregateVersion!, set: { status: data.status } }
  const { outcome } = await updateVersion(tx, row)
  await tx.query('insert into history (line) values ($1)', [`${data.orderId} version ${aggregateVersion}: ${outcome}`])
})
// #endregion version

// 4 · Idempotency keys for calls to the outside. The first run fails after the call.
const refunds = new Map<string, number>()
let runs = 0
// #region once
shop.consume(RefundRequested, async (order, { tx, signal }) => {
  const refund = async ({ key }: { readonly key: string }): Promise<number> => provider(key)
  const amount = await once(shop.ledger, order, 'refund', refund, { signal })
  if ((runs += 1) === 1) throw new Error('after the call')
  await tx.query('insert into history (line) values ($1)', [`${order.data.orderId}: ${amount} refunded`])
})
// #endregion once
function provider(key: string): number {
  refunds.set(key, 42)
  return 42
}

/** What a producer of another make sends, and sends again because it heard no reply. */
async function send(topic: string, type: string, id: string, data: object, version = 1): Promise<void> {
  const appender = await broker.appender({ sourceEpoch: `legacy-${id}-${version}.1`, generation: 1, stream: 0, epoch: 1, topics: [topic] })
  const headers = Object.entries({ ce_id: id, ce_source: '/legacy', ce_type: type, ce_aggregateversion: String(version) })
  const record = { topic, partition: 0, key: Buffer.from('o-1'), value: Buffer.from(JSON.stringify(data)), headers, coordinate: null }
  await appender.append([record, record])
  await appender.close()
}

await shop.start()
await send(OrderPlaced.topic, 'OrderPlaced', 'm-1', { orderId: 'o-1' })
await send(OrderShipped.topic, 'OrderShipped', 'm-2', { orderId: 'o-1' })
for (const [status, version] of Object.entries({ paid: 2, closed: 4, placed: 1 }))
  await send(StatusChanged.topic, 'StatusChanged', `m-${status}`, { orderId: 'o-1', status }, version)
await shop.settled()
await shop.transaction((tx) => shop.publish(tx, RefundRequested, { orderId: 'o-1' }))
await shop.settled()
for (const { line } of await shop.query('select line from history order by place')) console.log(line)
console.log(`refunds at the provider: ${refunds.size}`)
for (const table of ['invoices', 'shipments']) console.log(`${table}: ${(await shop.query(`select from ${table}`)).length}`)

await shop.stop()
await server.release()
