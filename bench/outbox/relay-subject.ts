import { setTimeout as delay } from 'node:timers/promises'
import { service } from 'tidemark'
import { memoryBroker } from 'tidemark/memory'
import { postgres, postgresBroker } from 'tidemark/postgres'
import { serveSubject } from '../harness/subject.ts'
import { OrderPlaced } from '../orders/order-placed.ts'
import { publishBacklog } from '../orders/publish-backlog.ts'

export interface RelayInput {
  readonly database: string
  readonly messages: number
  /** Connection string of the log's database; `null`: the memory broker. */
  readonly log: string | null
}

serveSubject(({ database, messages, log }: RelayInput) => {
  const broker = log === null ? memoryBroker() : postgresBroker({ connectionString: log })
  const shop = service('shop', { database: postgres({ connectionString: database }), broker })

  const inLog = async (): Promise<number> => {
    const [earliest, latest] = await Promise.all([
      broker.offsets(OrderPlaced.topic, 'earliest'),
      broker.offsets(OrderPlaced.topic, 'latest'),
    ])
    return latest.reduce((sum, offset, partition) => sum + offset - (earliest[partition] ?? 0), 0)
  }

  return {
    async prepare() {
      await publishBacklog(shop, messages)
      await broker.topics([{ name: OrderPlaced.topic }])
    },
    async run() {
      const startedAt = performance.now()
      await shop.start()
      // Offsets of both brokers are dense: their sum is the number of records.
      while ((await inLog()) < messages) await delay(2)
      return { seconds: (performance.now() - startedAt) / 1000 }
    },
    async stop() {
      await shop.settled()
      const records = await inLog()
      await shop.stop()
      await broker.close()
      if (records !== messages) throw new Error(`wrong log: expected ${messages} records, found ${records}`)
    },
  }
})
