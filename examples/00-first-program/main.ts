// #region program
import { event, service } from 'tidemark'
import { z } from 'zod' // any Standard Schema library

const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  key: (order) => order.orderId,
  schema: z.object({ orderId: z.string(), total: z.number() }),
})

const shop = service('shop') // embedded Postgres; { database, broker } to grow
const billing = service('billing')

billing.consume(OrderPlaced, async (order, { tx }) => {
  await tx.query('insert into invoices (order_id, total) values ($1, $2)', [order.data.orderId, order.data.total])
})

await shop.query('create table if not exists orders (order_id text primary key, total numeric not null)')
await billing.query('create table if not exists invoices (order_id text primary key, total numeric not null)')
await Promise.all([shop.start(), billing.start()])

const orderId = `o-${Date.now()}`
await shop.transaction(async (tx) => {
  await tx.query('insert into orders (order_id, total) values ($1, $2)', [orderId, 42])
  await shop.publish(tx, OrderPlaced, { orderId, total: 42 })
})

await shop.settled()
await billing.settled()
const invoices = await billing.query('select total from invoices where order_id = $1', [orderId])
console.log(`invoices for the order: ${invoices.length}, total ${String(invoices[0]?.['total'])}`)

await Promise.all([shop.stop(), billing.stop()])
// #endregion program
