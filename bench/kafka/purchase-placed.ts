import { event } from 'tidemark'
import type { EventDefinition } from 'tidemark'
import { z } from 'zod'
import type { Purchase } from './purchase.ts'

const schema = z.object({
  orderId: z.string(),
  customerId: z.string(),
  cents: z.number().int(),
  placedAt: z.string(),
  note: z.string(),
})

/** The purchase as an event. Each run has an aggregate of its own, and so a topic of its own. */
export function purchasePlaced(aggregate: string): EventDefinition<'PurchasePlaced', typeof schema> {
  return event('PurchasePlaced', { aggregate, key: (placed: Purchase) => placed.customerId, schema })
}

/** Where events of this aggregate go, by our relay as by Debezium's router. */
export function topicOf(aggregate: string): string {
  return `outbox.event.${aggregate}`
}
