import { order } from './orders.ts'
import { percentile } from '../harness/statistics.ts'
import type { Order } from './orders.ts'
import type { Server } from '../harness/server.ts'

/** The effect: one row for each order, the same statement for all systems. */
export const insertInvoice =
  'insert into invoices (order_id, customer_id, cents, placed_at, handling_began) values ($1, $2, $3, $4, to_timestamp($5::double precision / 1000))'

/** The parameters of `insertInvoice`. Called first thing in a handler: it also reads the clock. */
export function invoiceValues(order: Order): [string, string, number, string, number] {
  return [order.orderId, order.customerId, order.cents, order.placedAt, now()]
}

/** Milliseconds since 1970, with fractions. */
export function now(): number {
  return performance.timeOrigin + performance.now()
}

/** No unique constraint on the order: an effect made twice must be seen, not prevented. */
const createInvoices = `
  create table invoices (
    id bigint generated always as identity primary key,
    order_id text not null,
    customer_id text not null,
    cents bigint not null,
    placed_at timestamptz not null,
    handling_began timestamptz not null
  )`

export async function createInvoiceTable(server: Server, database: string): Promise<void> {
  await server.query(database, createInvoices)
}

/** Rejects unless every order has exactly one invoice with its own amount. */
export async function checkInvoices(server: Server, database: string, messages: number): Promise<void> {
  const [found] = await server.query<{ rows: number; orders: number; cents: number }>(
    database,
    'select count(*)::int as rows, count(distinct order_id)::int as orders, coalesce(sum(cents), 0)::float8 as cents from invoices',
  )
  let cents = 0
  for (let number = 1; number <= messages; number += 1) cents += order(number).cents
  if (found?.rows === messages && found.orders === messages && found.cents === cents) return
  throw new Error(`wrong effects: expected ${messages} invoices of ${messages} orders over ${cents} cents, found ${JSON.stringify(found)}`)
}

/**
 * Milliseconds from the call of a message's handler to the commit that made its effect durable, the 99th percentile over all messages.
 * Both ends are read from the table, for all systems alike: the handler writes when it began, and Postgres keeps when the row's transaction committed.
 */
export async function handlingTimeP99(server: Server, database: string): Promise<number> {
  const rows = await server.query<{ ms: number }>(
    database,
    'select extract(epoch from pg_xact_commit_timestamp(xmin) - handling_began)::float8 * 1000 as ms from invoices',
  )
  return percentile(
    rows.map((row) => row.ms),
    0.99,
  )
}
