/**
 * What the services of the shop tell each other. Every event carries the order as it was placed, so that no service has to ask another one.
 *
 * @module
 */
import { event } from 'tidemark'
import { z } from 'zod'

const order = z.object({
  orderId: z.string().min(1),
  customer: z.string().min(1),
  /** UTC day, `YYYY-MM-DD`. */
  day: z.string().regex(/^\d{4}-\d{2}-\d{2}$/),
  /** Number of CDs. */
  units: z.int().nonnegative(),
  cents: z.int().nonnegative(),
})
const orderWithReason = order.extend({ reason: z.string().min(1) })

/** An order as all services know it. */
export type Order = z.infer<typeof order>

/** All that happens to an order is keyed by it: one service tells it in this order, and others hear it in this order. */
const key = ({ orderId }: Order): string => orderId

/** From `orders`: a customer wants this. */
export const OrderPlaced = event('OrderPlaced', { aggregate: 'order', key, schema: order })
/** From `orders`: paid, reserved and shipped. */
export const OrderFulfilled = event('OrderFulfilled', { aggregate: 'order', key, schema: order })
/** From `orders`: not paid, or paid back. */
export const OrderCancelled = event('OrderCancelled', { aggregate: 'order', key, schema: orderWithReason })

/** From `payments`: the money is there. */
export const PaymentReceived = event('PaymentReceived', { aggregate: 'payment', key, schema: order })
/** From `payments`: no money was taken. */
export const PaymentDeclined = event('PaymentDeclined', { aggregate: 'payment', key, schema: orderWithReason })
/** From `payments`: the money went back. */
export const PaymentRefunded = event('PaymentRefunded', { aggregate: 'payment', key, schema: orderWithReason })

/** From `inventory`: the CDs are set aside. */
export const StockReserved = event('StockReserved', { aggregate: 'stock', key, schema: order })
/** From `inventory`: there are not as many. */
export const OutOfStock = event('OutOfStock', { aggregate: 'stock', key, schema: orderWithReason })

/** From `shipping`: the parcel left. */
export const OrderShipped = event('OrderShipped', { aggregate: 'shipment', key, schema: order })

/** Where all of these travel. */
export const topics: readonly string[] = [
  ...new Set([OrderPlaced, PaymentReceived, StockReserved, OrderShipped].map((event) => event.topic)),
]
