import { type Service, type ServiceOptions, service } from 'tidemark'
import { OrderShipped, StockReserved } from './events.ts'

export const shippingTables = `
  create table if not exists shipments (
    order_id text primary key,
    customer text not null,
    units integer not null
  );`

/** Sends what is reserved. */
export function shippingService(options: ServiceOptions = {}): Service {
  const shipping = service('shipping', options)

  shipping.consume(StockReserved, async ({ data: order, time }, { tx }) => {
    await Promise.all([
      tx.query('insert into shipments (order_id, customer, units) values ($1, $2, $3)', [order.orderId, order.customer, order.units]),
      shipping.publish(tx, OrderShipped, order, { time }),
    ])
  })

  return shipping
}
