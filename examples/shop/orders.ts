import { type Service, type ServiceOptions, service } from 'tidemark'
import {
  type Order,
  OrderCancelled,
  OrderFulfilled,
  OrderPlaced,
  PaymentDeclined,
  PaymentReceived,
  PaymentRefunded,
  StockReserved,
} from './events.ts'

export const ordersTables = `
  create table if not exists orders (
    order_id text primary key,
    customer text not null,
    day date not null,
    units integer not null,
    cents bigint not null,
    state text not null default 'PENDING' check (state in ('PENDING', 'PROCESSING', 'COMPLETED', 'CANCELLED')),
    reason text
  );`

/**
 * Takes orders and follows them to their end: PENDING, then PROCESSING when paid, then COMPLETED or CANCELLED.
 *
 * The news comes from several services, and between different topics there is no order: StockReserved may be here before PaymentReceived.
 * That is why PROCESSING asks for PENDING, so that no state ever moves back.
 */
export function ordersService(options: ServiceOptions = {}): Service {
  const orders = service('orders', options)

  orders.consume(PaymentReceived, async ({ data: order }, { tx }) => {
    await tx.query(`update orders set state = 'PROCESSING' where order_id = $1 and state = 'PENDING'`, [order.orderId])
  })

  orders.consume(StockReserved, async ({ data: order, time }, { tx }) => {
    await Promise.all([
      tx.query(`update orders set state = 'COMPLETED' where order_id = $1`, [order.orderId]),
      orders.publish(tx, OrderFulfilled, order, { time }),
    ])
  })

  for (const TheEnd of [PaymentDeclined, PaymentRefunded]) {
    orders.consume(TheEnd, async ({ data: order, time }, { tx }) => {
      await Promise.all([
        tx.query(`update orders set state = 'CANCELLED', reason = $2 where order_id = $1`, [order.orderId, order.reason]),
        orders.publish(tx, OrderCancelled, order, { time }),
      ])
    })
  }

  return orders
}

/**
 * Places these orders in one transaction, each with its OrderPlaced; those that were placed before stay as they are and are not told again.
 * Returns how many were new.
 */
export function placeOrders(orders: Service, placed: readonly Order[]): Promise<number> {
  return orders.transaction(async (tx) => {
    const rows = await tx.query<{ order_id: string }>(
      `insert into orders (order_id, customer, day, units, cents)
       select * from unnest($1::text[], $2::text[], $3::date[], $4::integer[], $5::bigint[])
       on conflict do nothing
       returning order_id`,
      columns(placed),
    )
    const isNew = new Set(rows.map((row) => row.order_id))
    const news = placed.filter(({ orderId }) => isNew.has(orderId))
    await orders.publishAll(
      tx,
      news.map((order) => ({ event: OrderPlaced, data: order, time: new Date(order.day) })),
    )
    return news.length
  })
}

function columns(orders: readonly Order[]): readonly unknown[] {
  return (['orderId', 'customer', 'day', 'units', 'cents'] as const).map((name) => orders.map((order) => order[name]))
}
