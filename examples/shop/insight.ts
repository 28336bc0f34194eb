import { type Service, type ServiceOptions, service } from 'tidemark'
import { OrderCancelled, OrderFulfilled, OrderPlaced } from './events.ts'

export const insightTables = `
  create table if not exists customer_totals (
    customer text not null,
    outcome text not null check (outcome in ('placed', 'fulfilled', 'cancelled')),
    orders bigint not null,
    units bigint not null,
    cents bigint not null,
    primary key (customer, outcome)
  );
  create table if not exists day_totals (
    day date not null,
    outcome text not null check (outcome in ('placed', 'fulfilled', 'cancelled')),
    orders bigint not null,
    units bigint not null,
    cents bigint not null,
    primary key (day, outcome)
  );`

/**
 * Adds up what was placed, fulfilled and cancelled, per customer and per day.
 *
 * Sums show a message that counts twice, or never. They also are rows that many orders share: so a batch of messages becomes one
 * addition per row, and one batch at a time adds, since two that meet would wait for each other's rows, in a circle at worst.
 */
export function insightService(options: ServiceOptions = {}): Service {
  const insight = service('insight', options)
  const outcomes = [
    [OrderPlaced, 'placed'],
    [OrderFulfilled, 'fulfilled'],
    [OrderCancelled, 'cancelled'],
  ] as const

  for (const [Event, outcome] of outcomes) {
    insight.consume(Event, { batch: true }, async (messages, { tx }) => {
      const orders = messages.map(({ data }) => data)
      const units = orders.map((order) => order.units)
      const cents = orders.map((order) => order.cents)
      await Promise.all([
        tx.query('select pg_advisory_xact_lock(1)'),
        tx.query(addPerCustomer, [outcome, orders.map(({ customer }) => customer), units, cents]),
        tx.query(addPerDay, [outcome, orders.map(({ day }) => day), units, cents]),
      ])
    })
  }

  return insight
}

const addPerCustomer = `
  insert into customer_totals as total (customer, outcome, orders, units, cents)
  select customer, $1, count(*), sum(units), sum(cents)
  from unnest($2::text[], $3::integer[], $4::bigint[]) as news (customer, units, cents)
  group by customer
  on conflict (customer, outcome) do update
  set orders = total.orders + excluded.orders, units = total.units + excluded.units, cents = total.cents + excluded.cents`

const addPerDay = `
  insert into day_totals as total (day, outcome, orders, units, cents)
  select day, $1, count(*), sum(units), sum(cents)
  from unnest($2::date[], $3::integer[], $4::bigint[]) as news (day, units, cents)
  group by day
  on conflict (day, outcome) do update
  set orders = total.orders + excluded.orders, units = total.units + excluded.units, cents = total.cents + excluded.cents`
