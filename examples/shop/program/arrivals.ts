import { setTimeout as sleep } from 'node:timers/promises'
import type { Purchase } from '../input/purchase.ts'
import { placeOrders } from '../orders.ts'
import type { Shop } from '../shop.ts'
import { persistently } from './persistence.ts'

const tickMs = 100

/** How far the arriving orders have come. */
export interface Arrivals {
  readonly total: number
  /** Those that were placed before this run included. */
  readonly placed: number
}

export interface ArrivalOptions {
  /** Orders a second. */
  readonly rate: number
  readonly signal: AbortSignal
  /** Told after every transaction. */
  readonly onPlaced: (arrivals: Arrivals) => void
  /** Told once per outage. Placing waits until the database is back, however long that takes. */
  readonly onOutage: (error: unknown) => void
}

/**
 * Lets the purchases arrive in their order, so many a second, until all have. Rejects when `signal` aborts. After an outage it goes on at
 * the same pace; it does not make up for lost time.
 */
export async function letArrive(shop: Shop, purchases: readonly Purchase[], options: ArrivalOptions): Promise<void> {
  const { rate, signal, onPlaced, onOutage } = options
  const awaited = await notYetPlaced(shop, purchases)
  const total = purchases.length
  const before = total - awaited.length
  onPlaced({ total, placed: before })
  for (let next = 0, due = 0, last = performance.now(); next < awaited.length;) {
    await sleep(tickMs, undefined, { signal })
    const now = performance.now()
    // At most one second's worth at once.
    due = Math.min(due + (rate * (now - last)) / 1_000, Math.max(rate, 1))
    last = now
    const arriving = awaited.slice(next, next + Math.floor(due))
    if (arriving.length === 0) continue
    await persistently(() => placeOrders(shop.orders, arriving), { signal, patienceMs: Infinity, onOutage })
    next += arriving.length
    onPlaced({ total, placed: before + next })
    due -= arriving.length
  }
}

async function notYetPlaced(shop: Shop, purchases: readonly Purchase[]): Promise<readonly Purchase[]> {
  const rows = await shop.orders.query<{ order_id: string }>('select order_id from orders where order_id = any($1)', [
    purchases.map(({ orderId }) => orderId),
  ])
  const placed = new Set(rows.map((row) => row.order_id))
  return purchases.filter(({ orderId }) => !placed.has(orderId))
}
