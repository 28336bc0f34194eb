import type { ServiceStatus } from 'tidemark'
import type { Shop } from '../shop.ts'
import { alignColumns, withCommas } from './columns.ts'
import type { Arrivals } from './arrivals.ts'
import { countsOf, statusesOf } from './counts.ts'

/** Everything the live table shows, at one moment. */
export interface Look {
  readonly arrivals: Arrivals
  readonly statuses: readonly ServiceStatus[]
  /** Orders by state. */
  readonly states: ReadonlyMap<string, number>
}

export const orderStates = ['PENDING', 'PROCESSING', 'COMPLETED', 'CANCELLED'] as const

export async function lookAt(shop: Shop, arrivals: Arrivals): Promise<Look> {
  const [statuses, states] = await Promise.all([
    statusesOf(shop),
    shop.orders.query<{ state: string; orders: string }>('select state, count(*) as orders from orders group by state'),
  ])
  return { arrivals, statuses, states: new Map(states.map(({ state, orders }) => [state, Number(orders)])) }
}

/** The table, a line each. Events, retries, duplicates and dead letters are counted since this start; the lag is what waits for all. */
export function tableOf({ arrivals, statuses, states }: Look): readonly string[] {
  const head = ['', 'events in', 'out', 'lag', 'retries', 'duplicates', 'dead letters']
  const rows = statuses.map((status) => {
    const { handled, published, lag, retries, duplicates, deadLetters } = countsOf(status)
    return [status.name, ...[handled, published, lag, retries, duplicates, deadLetters].map(shown)]
  })
  return [...alignColumns([head, ...rows]), '', statesText(states), arrivalsText(arrivals)]
}

/** The same in one line, for logs. */
export function lineOf({ arrivals, statuses, states }: Look): string {
  const services = statuses.map((status) => {
    const { handled, published, lag } = countsOf(status)
    return `${status.name} in ${handled} out ${published} lag ${lag ?? '?'}`
  })
  return [arrivalsText(arrivals), ...services, statesText(states)].join(' | ')
}

function shown(count: number | null): string {
  return count === null ? '?' : withCommas(count)
}

function statesText(states: ReadonlyMap<string, number>): string {
  return orderStates.map((state) => `${state} ${withCommas(states.get(state) ?? 0)}`).join('  ')
}

function arrivalsText({ placed, total }: Arrivals): string {
  const all = `${withCommas(placed)} of ${withCommas(total)} orders placed`
  return placed >= total ? `${all}: the input is exhausted` : all
}
