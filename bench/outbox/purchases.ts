import type { Order } from '../orders/order.ts'
import type { Server } from '../harness/server.ts'

/** The business row of the writing side, the same with and without an event. */
export const insertPurchase = 'insert into purchases (order_id, customer_id, cents, placed_at) values ($1, $2, $3, $4)'

export function purchaseValues(order: Omit<Order, 'lines'>): [string, string, number, string] {
  return [order.orderId, order.customerId, order.cents, order.placedAt]
}

export async function createPurchaseTable(server: Server, database: string): Promise<void> {
  await server.query(
    database,
    `create table purchases (
      id bigint generated always as identity primary key,
      order_id text not null,
      customer_id text not null,
      cents bigint not null,
      placed_at timestamptz not null
    )`,
  )
}

/** Rejects unless there is exactly one row for each transaction that was answered. */
export async function checkPurchases(server: Server, database: string, expected: number): Promise<void> {
  const [found] = await server.query<{ rows: number; orders: number }>(
    database,
    'select count(*)::int as rows, count(distinct order_id)::int as orders from purchases',
  )
  if (found?.rows !== expected || found.orders !== expected) {
    throw new Error(`wrong rows: expected ${expected} purchases, found ${JSON.stringify(found)}`)
  }
}

/** Rejects unless the outbox holds exactly one event for each purchase, or none at all. */
export async function checkOutbox(server: Server, database: string, expected: number): Promise<void> {
  const [found] = await server.query<{ rows: number; ids: number }>(
    database,
    'select count(*)::int as rows, count(distinct id)::int as ids from tidemark.outbox',
  )
  if (found?.rows !== expected || found.ids !== expected) {
    throw new Error(`wrong outbox: expected ${expected} events, found ${JSON.stringify(found)}`)
  }
}
