import pg from 'pg'
import { service } from 'tidemark'
import { memoryBroker } from 'tidemark/memory'
import { postgres } from 'tidemark/postgres'
import { percentile } from '../harness/statistics.ts'
import { serveSubject } from '../harness/subject.ts'
import { OrderPlaced } from '../orders/order-placed.ts'
import { order } from '../orders/order.ts'
import { insertPurchase, purchaseValues } from './purchases.ts'

export interface TransactionsInput {
  readonly database: string
  /** Transactions at a time, each on a connection of its own. */
  readonly clients: number
  readonly seconds: number
  /** `pg`: begin, insert, commit by the client alone. `transaction`: the service's, without an event. `publish`: with one. */
  readonly way: 'pg' | 'transaction' | 'publish'
}

serveSubject(({ database, clients, seconds, way }: TransactionsInput) => {
  const pool = new pg.Pool({ connectionString: database, max: clients })
  // Nothing is relayed in this part of the bench: the service is never started.
  const shop = service('shop', { database: postgres({ connectionString: database, maxConnections: clients }), broker: memoryBroker() })
  let last = 0

  const transact = {
    async pg(number: number) {
      const client = await pool.connect()
      try {
        await client.query('begin')
        await client.query(insertPurchase, purchaseValues(order(number)))
        await client.query('commit')
      } finally {
        client.release()
      }
    },
    async transaction(number: number) {
      await shop.transaction((tx) => tx.query(insertPurchase, purchaseValues(order(number))))
    },
    async publish(number: number) {
      await shop.transaction(async (tx) => {
        const placed = order(number)
        await tx.query(insertPurchase, purchaseValues(placed))
        await shop.publish(tx, OrderPlaced, placed)
      })
    },
  }[way]

  const transactions = async (forSeconds: number): Promise<number[]> => {
    const endsAt = performance.now() + forSeconds * 1000
    const durations: number[] = []
    const client = async (): Promise<void> => {
      for (let now = performance.now(); now < endsAt; now = performance.now()) {
        last += 1
        await transact(last)
        durations.push(performance.now() - now)
      }
    }
    await Promise.all(Array.from({ length: clients }, client))
    return durations
  }

  return {
    async prepare() {
      // Connections, plans and code are warm then; the rows count in the check at the end.
      await transactions(seconds / 10)
    },
    async run() {
      const startedAt = performance.now()
      const durations = await transactions(seconds)
      const elapsed = (performance.now() - startedAt) / 1000
      return { perSecond: durations.length / elapsed, p99: percentile(durations, 0.99), rows: last }
    },
    async stop() {
      await shop.stop()
      await pool.end()
    },
  }
})
