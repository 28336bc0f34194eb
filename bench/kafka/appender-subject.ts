import { kafka } from 'tidemark/kafka'
import { partitionOf } from 'tidemark/message'
import { percentile } from '../harness/statistics.ts'
import { serveSubject } from '../harness/subject.ts'
import { payloads } from './payloads.ts'
import { purchase } from './purchase.ts'

export interface AppenderInput {
  readonly brokers: readonly string[]
  readonly topic: string
  readonly partitions: number
  readonly messages: number
  /** Records with nothing but key and value, as Kafka's own producer sends them; or with as many headers as a relay's have. */
  readonly headers: 'none' | 'relay'
}

/** As many as the relay appends at once. */
const pageSize = 1_000
const sourceEpoch = 'bench.1'

/** Appends as the relay does: page by page, one at a time, acknowledged by all replicas, idempotent. */
serveSubject(({ brokers, topic, partitions, messages, headers }: AppenderInput) => {
  const broker = kafka({ brokers })
  const contents = payloads().map((text, index) => ({ key: Buffer.from(purchase(index + 1).customerId), value: Buffer.from(text) }))

  const page = (first: number, size: number): Parameters<Appender['append']>[0] =>
    Array.from({ length: size }, (_, index) => {
      const seq = first + index
      const { key, value } = contents[seq % contents.length]!
      const coordinate = { sourceEpoch, generation: 1, stream: 0, tick: 1, seq }
      return {
        topic,
        partition: partitionOf(key, partitions),
        key,
        value,
        headers: headers === 'none' ? [] : relayHeaders(seq),
        coordinate,
      }
    })

  let appender: Appender
  return {
    async prepare() {
      await broker.topics([{ name: topic }])
      appender = await broker.appender({ sourceEpoch, generation: 1, stream: 0, epoch: 1, topics: [topic] })
    },
    async run() {
      const times: number[] = []
      const startedAt = performance.now()
      for (let sent = 0; sent < messages; sent += pageSize) {
        const records = page(sent, Math.min(pageSize, messages - sent))
        const pageAt = performance.now()
        const refusals = await appender.append(records)
        if (refusals.length > 0) throw new Error(`refused: ${refusals[0]!.reason}`)
        times.push(performance.now() - pageAt)
      }
      return { seconds: (performance.now() - startedAt) / 1_000, p99: percentile(times, 0.99) }
    },
    async stop() {
      await appender.close()
      await broker.close()
    },
  }
})

type Appender = Awaited<ReturnType<ReturnType<typeof kafka>['appender']>>

/** Of the number and length of a service's. */
function relayHeaders(seq: number): [string, string][] {
  const id = `01936f2a-0000-7000-8000-${String(seq).padStart(12, '0')}`
  return [
    ['id', id],
    ['ce_specversion', '1.0'],
    ['ce_id', id],
    ['ce_type', 'PurchasePlaced'],
    ['ce_partitionkey', `customer-${String(seq % 2_000).padStart(5, '0')}`],
    ['ce_source', 'shop'],
    ['ce_time', '2026-01-01T00:00:00.000Z'],
    ['ce_correlationid', id],
    ['ce_schemaversion', '1'],
    ['content-type', 'application/json'],
    ['tidemark-coordinate', `${sourceEpoch}/1/0/1/${seq}`],
  ]
}
