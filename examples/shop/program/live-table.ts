import type { ServiceStatus } from 'tidemark'
import type { Shop } from '../shop.ts'
import { alignColumns, withCommas } from './columns.ts'
import type { Arrivals } from './arrivals.ts'

/** Everything the live table shows, at one moment. */
export interface Look {
  readonly arrivals: Arrivals
  readonly statuses: readonly ServiceStatus[]
  /** Orders by state. */
  readonly states: ReadonlyMap<string, number>
  /** Events each service has published, by name. */
  readonly published: ReadonlyMap<string, number>
}

/** How many events each service has told the others, from its own tables. */
const publishedQueries: Record<keyof Shop, string> = {
  orders: `select count(*) + count(*) filter (where state in ('COMPLETED', 'CANCELLED')) as events from orders`,
  payments: `select count(*) + count(*) filter (where state = 'REFUNDED') as events from payments`,
  inventory: 'select count(*) as events from reservations',
  shipping: 'select count(*) as events from shipments',
  insight: 'select 0 as events',
}

export const orderStates = ['PENDING', 'PROCESSING', 'COMPLETED', 'CANCELLED'] as const

export async function lookAt(shop: Shop, arrivals: Arrivals): Promise<Look> {
  const names = Object.keys(publishedQueries) as (keyof Shop)[]
  const [statuses, counts, states] = await Promise.all([
    Promise.all(names.map((name) => shop[name].status())),
    Promise.all(names.map((name) => shop[name].query<{ events: string }>(publishedQueries[name]))),
    shop.orders.query<{ state: string; orders: string }>('select state, count(*) as orders from orders group by state'),
  ])
  return {
    arrivals,
    statuses,
    published: new Map(names.map((name, i) => [name, Number(counts[i]![0]!.events)])),
    states: new Map(states.map(({ state, orders }) => [state, Number(orders)])),
  }
}

/** The table, a line each. */
export function tableOf({ arrivals, statuses, published, states }: Look): readonly string[] {
  const head = ['', 'events in', 'out', 'lag', 'retries', 'duplicates', 'dead letters']
  const rows = statuses.map(({ name, groups }) => {
    const sum = (what: 'handled' | 'lag' | 'retries' | 'duplicatesSuppressed' | 'deadLetters') =>
      withCommas(groups.reduce((all, group) => all + group[what], 0))
    return [name, sum('handled'), withCommas(published.get(name) ?? 0), sum('lag'), sum('retries'), sum('duplicatesSuppressed'), sum('deadLetters')]
  })
  return [...alignColumns([head, ...rows]), '', statesText(states), arrivalsText(arrivals)]
}

/** The same in one line, for logs. */
export function lineOf({ arrivals, statuses, published, states }: Look): string {
  const services = statuses.map(({ name, groups }) => {
    const [handled, lag] = groups.reduce(([h, l], group) => [h + group.handled, l + group.lag], [0, 0])
    return `${name} in ${handled} out ${published.get(name) ?? 0} lag ${lag}`
  })
  return `${arrivalsText(arrivals)} | ${services.join(' | ')} | ${statesText(states)}`
}

function statesText(states: ReadonlyMap<string, number>): string {
  return orderStates.map((state) => `${state} ${withCommas(states.get(state) ?? 0)}`).join('  ')
}

function arrivalsText({ placed, before, total }: Arrivals): string {
  const all = `${withCommas(before + placed)} of ${withCommas(total)} orders placed`
  return before + placed >= total ? `${all}: the input is exhausted` : all
}
