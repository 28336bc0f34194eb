import type { Service } from 'tidemark'
import { makeDatabases } from './databases.ts'
import type { Foundation } from './foundation.ts'
import { formatDollars } from './input/dollars.ts'
import { insightService, insightTables } from './insight.ts'
import { inventoryService, inventoryTables } from './inventory.ts'
import { ordersService, ordersTables } from './orders.ts'
import { paymentsService, paymentsTables } from './payments.ts'
import { policyTable, rememberPolicy } from './policy.ts'
import { exitCodes, ShopError } from './program/shop-error.ts'
import { shippingService, shippingTables } from './shipping.ts'

/** By what the shop decides. Kept by the services that decide, from the first run in a folder on. */
export interface Thresholds {
  readonly declineAboveCents: number
  readonly maxUnits: number
}

/** The five services. */
export interface Shop {
  readonly orders: Service
  readonly payments: Service
  readonly inventory: Service
  readonly shipping: Service
  readonly insight: Service
}

const tables: Record<keyof Shop, string> = {
  orders: ordersTables,
  payments: paymentsTables + policyTable,
  inventory: inventoryTables + policyTable,
  shipping: shippingTables,
  insight: insightTables,
}

/** Every database of the shop, that of the log included. */
export function databasesOf({ databaseOf, log }: Foundation): readonly string[] {
  return [...Object.keys(tables).map(databaseOf), ...(log.database === null ? [] : [log.database])]
}

/** The services by name, in the order in which an order meets them. */
export function servicesOf(shop: Shop): readonly Service[] {
  return [shop.orders, shop.payments, shop.inventory, shop.shipping, shop.insight]
}

/**
 * Makes databases and tables that are missing, and the services; nothing is handled before `startShop`.
 * Rejects with exit code 6 when earlier orders were decided by other thresholds or the log holds another shop's messages, with
 * `DATABASE_UNREACHABLE`, `BROKER_UNREACHABLE` or `EMBEDDED_FAILED`.
 */
export async function openShop(foundation: Foundation, thresholds: Thresholds): Promise<Shop> {
  await makeDatabases(foundation, databasesOf(foundation))
  const shop: Shop = {
    orders: ordersService(foundation.optionsFor('orders')),
    payments: paymentsService(thresholds.declineAboveCents, foundation.optionsFor('payments')),
    inventory: inventoryService(thresholds.maxUnits, foundation.optionsFor('inventory')),
    shipping: shippingService(foundation.optionsFor('shipping')),
    insight: insightService(foundation.optionsFor('insight')),
  }
  try {
    await Promise.all((Object.keys(tables) as (keyof Shop)[]).map((name) => makeTables(shop[name], tables[name])))
    await agreeOn(shop, thresholds)
  } catch (error) {
    await stopShop(shop)
    throw error
  }
  return shop
}

/** Starts all services: from here on they hear of each other's events. */
export async function startShop(shop: Shop): Promise<void> {
  await Promise.all(servicesOf(shop).map((service) => service.start()))
}

/** Ends all services: what is being handled is finished, the rest waits for the next start. */
export async function stopShop(shop: Shop): Promise<void> {
  await Promise.all(servicesOf(shop).map((service) => service.stop()))
}

async function makeTables(service: Service, script: string): Promise<void> {
  await service.transaction(async (tx) => {
    // Two processes that make the same table at the same moment would fail, whatever `if not exists` says.
    await tx.query('select pg_advisory_xact_lock(2)')
    await tx.query(script)
  })
}

async function agreeOn(shop: Shop, { declineAboveCents, maxUnits }: Thresholds): Promise<void> {
  const [keptCents, keptUnits] = await Promise.all([
    rememberPolicy(shop.payments, 'decline_above_cents', declineAboveCents),
    rememberPolicy(shop.inventory, 'max_units', maxUnits),
  ])
  if (keptCents !== declineAboveCents) throw otherThreshold('--decline-above', formatDollars(keptCents), formatDollars(declineAboveCents))
  if (keptUnits !== maxUnits) throw otherThreshold('--max-units', String(keptUnits), String(maxUnits))
}

function otherThreshold(flag: string, kept: string, asked: string): ShopError {
  return new ShopError(
    'THRESHOLD_CHANGED',
    exitCodes.conflict,
    `The orders in this shop are decided by ${flag} ${kept}, and now ${flag} is ${asked}.`,
    `Say ${flag} ${kept}, or --fresh to drop all orders and begin again.`,
  )
}
