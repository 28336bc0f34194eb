import { setTimeout as sleep } from 'node:timers/promises'
import { topics } from '../events.ts'
import type { Foundation } from '../foundation.ts'
import type { Purchase } from '../input/purchase.ts'
import { servicesOf, type Shop } from '../shop.ts'
import { type Arrivals, letArrive } from './arrivals.ts'
import { liveScreen, type LiveScreen } from './live-screen.ts'
import { lineOf, lookAt, tableOf } from './live-table.ts'
import { outageText, passes } from './persistence.ts'

/** Orders arrive, the table shows what becomes of them, and all goes on until `signal` aborts. Then it resolves. */
export async function runLive(
  shop: Shop,
  foundation: Foundation,
  purchases: readonly Purchase[],
  rate: number,
  signal: AbortSignal,
): Promise<void> {
  const screen = liveScreen(process.stdout)
  for (const line of introduction(shop, foundation, rate)) screen.say(line)
  let arrivals: Arrivals = { total: purchases.length, placed: 0 }
  const onOutage = (error: unknown): void => screen.say(outageText(error))
  const arriving = letArrive(shop, purchases, { rate, signal, onPlaced: (news) => (arrivals = news), onOutage }).then(() => {
    screen.say('The input is exhausted: all its orders are placed. The services go on; Ctrl-C stops.')
  })
  await Promise.all([arriving, keepShowing(shop, screen, () => arrivals, signal)].map(untilAborted))
}

function introduction(shop: Shop, foundation: Foundation, rate: number): readonly string[] {
  const places = servicesOf(shop).map(({ name }) => [`  ${name}`, foundation.server.connectionString(foundation.databaseOf(name))])
  const width = Math.max(...places.map(([name]) => name!.length))
  return [
    `Orders arrive at ${rate} a second. Ctrl-C stops; the next start goes on where this one ended.`,
    'Look inside with any Postgres client:',
    ...places.map(([name, place]) => `${name!.padEnd(width)}  ${place}`),
    ...(foundation.log.place === null ? [] : [`and with any Kafka client, at ${foundation.log.place}: ${topics.join(', ')}`]),
    '',
  ]
}

async function keepShowing(shop: Shop, screen: LiveScreen, arrivals: () => Arrivals, signal: AbortSignal): Promise<void> {
  for (;;) {
    await sleep(screen.intervalMs, undefined, { signal })
    try {
      const look = await lookAt(shop, arrivals())
      screen.draw(screen.isTerminal ? tableOf(look) : [lineOf(look)])
    } catch (error) {
      // While the database is away there is nothing to show; whoever places orders says so.
      if (!passes(error)) throw error
    }
  }
}

async function untilAborted(work: Promise<void>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (!(error instanceof Error && error.name === 'AbortError')) throw error
  }
}
