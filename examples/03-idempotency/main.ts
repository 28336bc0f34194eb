import { event, service } from 'tidemark'
import { idempotent, once } from 'tidemark/inbox'
import { memoryBroker } from 'tidemark/memory'
import { embedded, postgres, updateVersion } from 'tidemark/postgres'
import { handledTwice, testMessage } from 'tidemark/testing'
import { Pool } from 'pg'
import { z } from 'zod'

const server = await embedded().acquire()
const database = `idempotency_example_${process.pid}`
await server.ensureDatabase(database)
const pool = new Pool(server.connection(database))
const broker = memoryBroker()
const shop = service('shop', { database: postgres({ pool }), broker, consumer: { retry: { baseDelayMs: 1 } } })

const schema = z.object({ orderId: z.string() })
const key = ({ orderId }: { readonly orderId: string }): string => orderId
const OrderPlaced = event('OrderPlaced', { aggregate: 'order', key, schema })
const OrderShipped = event('OrderShipped', { aggregate: 'shipping', key, schema })
const StatusChanged = event('StatusChanged', { aggregate: 'status', key, schema: schema.extend({ status: z.string() }) })
const RefundRequested = event('RefundRequested', { aggregate: 'refund', key, schema })

await pool.query(`create table invoices (order_id text);
  create table shipments (order_id text primary key, state text);
  create table history (place serial, line text);
  create table orders (id text primary key, status text, version int); insert into orders values ('o-1', 'placed', 1)`)

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
await pool.query('truncate invoices')

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
for (const [version, status] of [
  [2, 'paid'],
  [4, 'closed'],
  [1, 'placed'],
] as const)
  // prettier-ignore
  await send(StatusChanged.topic, 'StatusChanged', `m-${status}`, { orderId: 'o-1', status }, version)
await shop.settled()
await shop.transaction((tx) => shop.publish(tx, RefundRequested, { orderId: 'o-1' }))
await shop.settled()
for (const { line } of (await pool.query<{ line: string }>('select line from history order by place')).rows) console.log(line)
console.log(`refunds at the provider: ${refunds.size}`)
for (const table of ['invoices', 'shipments']) console.log(`${table}: ${(await pool.query(`select from ${table}`)).rowCount}`)

// The same for requests that come in.
// #region http
const handle = idempotent(
  async (request, { commitWith }) =>
    shop.transaction(async (tx) => {
      const { orderId } = (await request.json()) as { orderId: string }
      await tx.query('insert into invoices values ($1)', [orderId])
      return commitWith(tx, Response.json({ invoiced: orderId }, { status: 201 }))
    }),
  { ledger: shop.ledger, caller: (request) => request.headers.get('authorization') ?? '', afterCrash: 'run again' },
)
// #endregion http
for (const body of ['{"orderId":"o-2"}', '{"orderId":"o-2"}', '{"orderId":"o-3"}']) {
  const headers = { 'idempotency-key': '"8e03978e"', authorization: 'me' }
  const response = await handle(new Request('http://shop/invoices', { method: 'POST', headers, body }))
  const replayed = response.headers.get('idempotency-replayed') === 'true' ? ', replayed' : ''
  const { invoiced, title } = (await response.json()) as { readonly invoiced?: string; readonly title?: string }
  console.log(`${response.status}${replayed}: ${invoiced ?? title}`)
}

await shop.stop()
await pool.query('drop schema tidemark cascade')
await pool.end()
await server.release()
