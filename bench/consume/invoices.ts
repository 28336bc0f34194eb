import { order } from '../orders/order.ts'
import { percentile } from '../harness/statistics.ts'
import type { Order } from '../orders/order.ts'
import type { Server } from '../harness/server.ts'

/** As much of an order as an invoice has. */
export type InvoicedOrder = Omit<Order, 'lines'>

/** The effect: one row for each order, the same statement for all systems. */
export const insertInvoice =
  'insert into invoices (order_id, customer_id, cents, placed_at, handling_began) values ($1, $2, $3, $4, to_timestamp($5::double precision / 1000))'

/** The parameters of `insertInvoice`. Called first thing in a handler: it also reads the clock. */
export function invoiceValues(order: InvoicedOrder): [string, string, number, string, number] {
  return [order.orderId, order.customerId, order.cents, order.placedAt, now()]
}

/** The same rows by one statement, for handlers of batches. */
export const insertInvoices = `
  insert into invoices (order_id, customer_id, cents, placed_at, handling_began)
  select order_id, customer_id, cents, placed_at, to_timestamp($5::double precision / 1000)
  from unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[]) as o (order_id, customer_id, cents, placed_at)`

export function invoiceValuesOf(orders: readonly InvoicedOrder[]): [string[], string[], number[], string[], number] {
  return [
    orders.map((order) => order.orderId),
    orders.map((order) => order.customerId),
    orders.map((order) => order.cents),
    orders.map((order) => order.placedAt),
    now(),
  ]
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

/** Rejects if an order of a customer was handled before an earlier one of the same customer. */
export async function checkOrderPerCustomer(server: Server, database: string): Promise<void> {
  const [found] = await server.query<{ late: number }>(
    database,
    `select count(*)::int as late
     from (select order_id < lag(order_id) over (partition by customer_id order by id) as is_late from invoices) as i
     where is_late`,
  )
  if (found?.late !== 0) throw new Error(`${String(found?.late)} orders were handled after a later one of the same customer`)
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
