import { setTimeout as delay } from 'node:timers/promises'
import { service } from 'tidemark'
import { kafka } from 'tidemark/kafka'
import { postgres } from 'tidemark/postgres'
import { serveSubject } from '../harness/subject.ts'
import { insertPurchase, purchaseValues } from '../outbox/purchases.ts'
import { purchasePlaced } from './purchase-placed.ts'
import { purchase } from './purchase.ts'

export interface LatencyShopInput {
  readonly database: string
  readonly brokers: readonly string[]
  readonly aggregate: string
  readonly messages: number
  /** So many come first, one after the other, so that connections, groups and code are warm. */
  readonly warmUp: number
  /** Purchases arrive one by one at this mean rate, at times of chance, whether the earlier ones are through or not. */
  readonly perSecond: number
  /** Relay from this process, too. */
  readonly relay: boolean
}

/** The publishing process of the latency runs. */
serveSubject(({ database, brokers, aggregate, messages, warmUp, perSecond, relay }: LatencyShopInput) => {
  const broker = kafka({ brokers })
  const shop = service('shop', { database: postgres({ connectionString: database }), broker, relay })
  const placed = purchasePlaced(aggregate)

  const place = async (number: number): Promise<void> => {
    await shop.transaction(async (tx) => {
      const data = purchase(number)
      await tx.query(insertPurchase, purchaseValues(data))
      await shop.publish(tx, placed, data)
    })
  }

  return {
    async prepare() {
      await shop.start()
      for (let number = 1; number <= warmUp; number += 1) await place(number)
    },
    async run() {
      const startedAt = performance.now()
      const transactions: Promise<void>[] = []
      let dueAt = startedAt
      for (let number = warmUp + 1; number <= messages; number += 1) {
        dueAt += (-Math.log(1 - Math.random()) * 1_000) / perSecond
        const wait = dueAt - performance.now()
        if (wait > 0) await delay(wait)
        transactions.push(place(number))
      }
      await Promise.all(transactions)
      return { perSecond: ((messages - warmUp) * 1_000) / (performance.now() - startedAt) }
    },
    async stop() {
      await shop.stop()
      await broker.close()
    },
  }
})
