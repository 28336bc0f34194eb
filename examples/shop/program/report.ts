import type { Row, Service } from 'tidemark'
import { servicesOf, type Shop } from '../shop.ts'
import { sum } from './counts.ts'

/** How many orders, with how many CDs, of which value. */
export interface Total {
  readonly orders: number
  readonly units: number
  readonly cents: number
}

/** What became of the orders of one input, as the services' databases say. */
export interface Outcome {
  readonly placed: Total
  readonly declined: Total
  readonly outOfStock: Total
  readonly fulfilled: Total
  readonly refunded: Total
  /** Distinct customers and days among the orders placed. */
  readonly customers: number
  readonly days: number
}

/** The document that `--once --json` prints. */
export interface Report extends Outcome {
  /** Over all services, since the first run. */
  readonly deadLetters: number
  /** Messages that came again in this run and had no effect. */
  readonly duplicatesSuppressed: number
  /** From the first order placed to the last effect. */
  readonly seconds: number
  /** Orders that were new in this run, by `seconds`. */
  readonly ordersPerSecond: number
}

/** Asks each service about these orders; orders of other inputs do not count. */
export async function readOutcome(shop: Shop, orderIds: readonly string[]): Promise<Outcome> {
  const [placed, declined, outOfStock, fulfilled, refunded, distinct] = await Promise.all([
    total(shop.orders, 'orders', orderIds),
    total(shop.payments, 'payments', orderIds, 'DECLINED'),
    total(shop.inventory, 'reservations', orderIds, 'OUT_OF_STOCK'),
    total(shop.orders, 'orders', orderIds, 'COMPLETED'),
    total(shop.payments, 'payments', orderIds, 'REFUNDED'),
    countDistinct(shop.orders, orderIds),
  ])
  return { placed, declined, outOfStock, fulfilled, refunded, ...distinct }
}

/** The document, in the order in which it is printed. */
export function reportOf(outcome: Outcome, deadLetters: number, duplicatesSuppressed: number, newOrders: number, seconds: number): Report {
  return {
    ...outcome,
    deadLetters,
    duplicatesSuppressed,
    seconds: rounded(seconds, 3),
    ordersPerSecond: newOrders === 0 ? 0 : rounded(newOrders / seconds, 1),
  }
}

/** Messages that no handler could do anything with, over all services. */
export async function countDeadLetters(shop: Shop): Promise<number> {
  const counts = await Promise.all(
    servicesOf(shop).map((service) =>
      service.query<{ letters: string }>(`select count(*) as letters from tidemark.dead_letter where state = 'dead'`),
    ),
  )
  return sum(counts.map(([row]) => Number(row!.letters)))
}

/** Has every order placed come to one of its three ends? */
export function addsUp({ placed, declined, outOfStock, fulfilled, refunded }: Outcome): boolean {
  return (['orders', 'units', 'cents'] as const).every(
    (what) => placed[what] === declined[what] + outOfStock[what] + fulfilled[what] && refunded[what] === outOfStock[what],
  )
}

/**
 * Do insight's sums over all orders equal what orders itself says? A message that counted twice, or never, shows here.
 * Asked only while nothing is on its way.
 */
export async function insightAgrees(shop: Shop): Promise<boolean> {
  const sums = (table: string) =>
    shop.insight.query(
      `select outcome, sum(orders)::text as orders, sum(units)::text as units, sum(cents)::text as cents from ${table} group by outcome order by outcome`,
    )
  const [perCustomer, perDay, said] = await Promise.all([
    sums('customer_totals'),
    sums('day_totals'),
    shop.orders.query(
      `select outcome, count(*)::text as orders, sum(units)::text as units, sum(cents)::text as cents
       from orders, lateral (values ('placed'), (case state when 'COMPLETED' then 'fulfilled' when 'CANCELLED' then 'cancelled' end)) as o (outcome)
       where outcome is not null group by outcome order by outcome`,
    ),
  ])
  const text = (rows: readonly Row[]) => JSON.stringify(rows)
  return text(perCustomer) === text(said) && text(perDay) === text(said)
}

async function total(service: Service, table: string, orderIds: readonly string[], state?: string): Promise<Total> {
  const [row] = await service.query<{ orders: string; units: string; cents: string }>(
    `select count(*) as orders, coalesce(sum(units), 0) as units, coalesce(sum(cents), 0) as cents
     from ${table} join unnest($1::text[]) as input (order_id) using (order_id)
     ${state === undefined ? '' : `where state = '${state}'`}`,
    [orderIds],
  )
  return { orders: Number(row!.orders), units: Number(row!.units), cents: Number(row!.cents) }
}

async function countDistinct(orders: Service, orderIds: readonly string[]): Promise<{ customers: number; days: number }> {
  const [row] = await orders.query<{ customers: string; days: string }>(
    `select count(distinct customer) as customers, count(distinct day) as days
     from orders join unnest($1::text[]) as input (order_id) using (order_id)`,
    [orderIds],
  )
  return { customers: Number(row!.customers), days: Number(row!.days) }
}

function rounded(value: number, decimals: number): number {
  return Number(value.toFixed(decimals))
}
