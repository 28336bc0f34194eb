import { setTimeout as delay } from 'node:timers/promises'
import { service } from 'tidemark'
import { postgres, postgresBroker } from 'tidemark/postgres'
import { serveSubject } from '../harness/subject.ts'
import { OrderPlaced } from '../orders/order-placed.ts'
import { order } from '../orders/order.ts'
import { insertPurchase, purchaseValues } from './purchases.ts'

export interface ShopInput {
  readonly database: string
  readonly log: string
  readonly messages: number
  /** Orders arrive one by one at this mean rate, at times of chance, whether the earlier ones are through or not. */
  readonly perSecond: number
}

/** The publishing process of the latency runs: transactions with an event, and the relay. */
serveSubject(({ database, log, messages, perSecond }: ShopInput) => {
  const broker = postgresBroker({ connectionString: log })
  const shop = service('shop', { database: postgres({ connectionString: database }), broker })

  const place = async (number: number): Promise<void> => {
    await shop.transaction(async (tx) => {
      const placed = order(number)
      await tx.query(insertPurchase, purchaseValues(placed))
      await shop.publish(tx, OrderPlaced, placed)
    })
  }

  return {
    prepare: () => shop.start(),
    async run() {
      const startedAt = performance.now()
      const transactions: Promise<void>[] = []
      let dueAt = startedAt
      for (let number = 1; number <= messages; number += 1) {
        // Exponential gaps: arrivals without memory, so that no period of the relay's can be in step with them.
        dueAt += (-Math.log(1 - Math.random()) * 1000) / perSecond
        const wait = dueAt - performance.now()
        if (wait > 0) await delay(wait)
        transactions.push(place(number))
      }
      await Promise.all(transactions)
      const seconds = (performance.now() - startedAt) / 1000
      await shop.settled()
      return { perSecond: messages / seconds }
    },
    async stop() {
      await shop.stop()
      await broker.close()
    },
  }
})
