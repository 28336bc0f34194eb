import { event } from 'tidemark'
import { z } from 'zod'

/** The order as an event of a service: validated when it is published and again when it is handled. */
export const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  // Per-key order is kept within a customer.
  key: (order) => order.customerId,
  schema: z.object({
    orderId: z.string(),
    customerId: z.string(),
    cents: z.number().int(),
    placedAt: z.string(),
    lines: z.array(z.object({ sku: z.string(), units: z.number().int(), cents: z.number().int() })),
  }),
})
