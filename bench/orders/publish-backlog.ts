import { OrderPlaced } from './order-placed.ts'
import { orderChunks } from './order.ts'
import type { Service } from 'tidemark'

/** Publishes orders 1 to `count`, some hundred in a transaction. */
export async function publishBacklog(shop: Service, count: number): Promise<void> {
  for (const orders of orderChunks(count, 500)) {
    await shop.transaction(async (tx) => {
      for (const order of orders) await shop.publish(tx, OrderPlaced, order)
    })
  }
}
