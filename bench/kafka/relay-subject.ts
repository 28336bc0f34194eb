import { setTimeout as delay } from 'node:timers/promises'
import { service } from 'tidemark'
import { kafka } from 'tidemark/kafka'
import { postgres } from 'tidemark/postgres'
import { serveSubject } from '../harness/subject.ts'
import { recordsIn } from './topic-size.ts'

export interface RelayInput {
  readonly database: string
  readonly brokers: readonly string[]
  readonly topic: string
  readonly messages: number
  readonly streams: number
  readonly pageSize: number
}

/** A process that does nothing but relay. */
serveSubject(({ database, brokers, topic, messages, streams, pageSize }: RelayInput) => {
  const broker = kafka({ brokers })
  const shop = service('shop', { database: postgres({ connectionString: database }), broker, outbox: { streams, pageSize } })
  return {
    async prepare() {},
    async run() {
      const startedAt = Date.now()
      await shop.start()
      while ((await recordsIn(broker, topic)) < messages) await delay(20)
      return { startedAt, peakBytes: process.resourceUsage().maxRSS * 1_024 }
    },
    async stop() {
      await shop.settled()
      await shop.stop()
      await broker.close()
    },
  }
})
