import { setTimeout as delay } from 'node:timers/promises'
import { debeziumVersion } from '../../servers/jar-sets.ts'
import { ownVersion } from '../harness/installed-version.ts'
import { withDatabases } from '../harness/scratch-databases.ts'
import { startSubject } from '../harness/start-subject.ts'
import { checkOutbox } from '../outbox/purchases.ts'
import { debeziumOutbox, dropSlot, makeSlot, startWorker } from './debezium.ts'
import { topicOf } from './purchase-placed.ts'
import { storePurchases } from './store-purchases.ts'
import { checkTopic } from './topic-check.ts'
import { recordsIn } from './topic-size.ts'
import type { Sample } from '../harness/result.ts'
import type { Contender } from '../harness/rounds.ts'
import type { Server } from '../harness/server.ts'
import type { BenchBroker } from './broker.ts'
import type { DebeziumSettings } from './debezium.ts'
import type { RelaySettings } from './relay-settings.ts'
import type { RelayInput } from './relay-subject.ts'

export const relayRate = 'outbox to Kafka'
export const relayRateFromStart = 'outbox to Kafka, from the start on'
export const relayRateSecondHalf = 'outbox to Kafka, second half'
export const relayMemory = 'outbox to Kafka, peak memory'

export const debezium = 'debezium'
export const debeziumSmallHeap = 'debezium (heap of 256 MiB)'

/** What a run tells beside what the log says. */
interface Relayed {
  /** When the relay was told to start, milliseconds since 1970. */
  readonly startedAt: number
  readonly peakBytes: number
  readonly cpuSeconds: number
}

let runs = 0

/** Our polling relay in a process of its own, from a stored backlog. */
export function relayContender(server: Server, broker: BenchBroker, messages: number, system: string, settings: RelaySettings): Contender {
  const { streams, flags } = settings
  // The rate is taken from the first record on, and the first page has come by then: it must be a small part of all.
  const pageSize = Math.min(settings.pageSize, Math.ceil(messages / 20))
  return {
    name: `${system}, relay`,
    measure: () =>
      withDatabases(server, ['shop'], async ({ shop }) => {
        const aggregate = `relayed_${(runs += 1)}`
        const topic = topicOf(aggregate)
        await storePurchases(broker.client, { database: shop, aggregate, messages, streams })
        return broker.withTopics([topic], async () => {
          const input: RelayInput = { database: shop, brokers: broker.addresses, topic, messages, streams, pageSize }
          const subject = startSubject(new URL('./relay-subject.ts', import.meta.url), input, flags)
          try {
            await subject.perform('prepare')
            const samples = await measured(server, broker, { system, version: ownVersion(), database: shop, topic, messages }, async () => {
              const { figures, cpuSeconds } = await subject.perform('run')
              return { startedAt: figures['startedAt']!, peakBytes: figures['peakBytes']!, cpuSeconds }
            })
            await subject.perform('stop')
            return samples
          } finally {
            await subject.end()
          }
        })
      }),
  }
}

/** Debezium's connector in a Connect worker of its own that is up and idle, from the same rows, behind a slot that is older than they are. */
export function debeziumContender(
  server: Server,
  broker: BenchBroker,
  messages: number,
  system: string,
  settings: DebeziumSettings,
): Contender {
  return {
    name: `${system}, relay`,
    measure: () =>
      withDatabases(server, ['shop'], async ({ shop }) => {
        const aggregate = `relayed_${(runs += 1)}`
        const topic = topicOf(aggregate)
        const outbox = await debeziumOutbox(shop)
        await storePurchases(broker.client, { database: shop, aggregate, messages }, () => makeSlot(server, shop, outbox))
        try {
          return await broker.withTopics([topic, ...outbox.topics], async () => {
            await using connect = await startWorker(broker, settings)
            return await measured(server, broker, { system, version: debeziumVersion, database: shop, topic, messages }, async () => {
              const before = await connect.usage()
              const startedAt = Date.now()
              await connect.createConnector(outbox.name, { ...outbox.config, ...settings.config })
              while ((await recordsIn(broker.client, topic)) < messages) {
                await delay(20)
                if (connect.pid === null) throw new Error(`Kafka Connect ended:\n${(await connect.log()).slice(-5_000)}`)
              }
              const after = await connect.usage()
              return { startedAt, peakBytes: after.peakResidentBytes, cpuSeconds: after.cpuSeconds - before.cpuSeconds }
            })
          })
        } finally {
          await dropSlot(server, shop, outbox.slot)
        }
      }),
  }
}

interface Run {
  readonly system: string
  readonly version: string
  readonly database: string
  readonly topic: string
  readonly messages: number
}

async function measured(server: Server, broker: BenchBroker, run: Run, relay: () => Promise<Relayed>): Promise<Sample[]> {
  const { system, version, database, topic, messages } = run
  await checkOutbox(server, database, messages)
  await server.settle([database])
  const postgresBefore = server.cpuSeconds()!
  const kafkaBefore = await broker.cpuSeconds()
  const { startedAt, peakBytes, cpuSeconds } = await relay()
  const kafkaSeconds = (await broker.cpuSeconds()) - kafkaBefore
  const postgresSeconds = server.cpuSeconds()! - postgresBefore
  const { firstAt, halfAt, lastAt, bytes } = await checkTopic(broker.client, topic, messages)
  const sample = (metric: string, unit: string, value: number): Sample => ({ system, version, metric, unit, value })
  return [
    sample(relayRate, 'rows/s', (messages / (lastAt - firstAt)) * 1_000),
    sample(relayRateFromStart, 'rows/s', (messages / (lastAt - startedAt)) * 1_000),
    sample(relayRateSecondHalf, 'rows/s', (messages / 2 / (lastAt - halfAt)) * 1_000),
    sample(`${relayRate}, bytes`, 'MB/s', bytes / 1_000 / (lastAt - firstAt)),
    sample(relayMemory, 'MiB', peakBytes / 2 ** 20),
    sample(`${relayRate}, CPU of the relay`, 's', cpuSeconds),
    sample(`${relayRate}, CPU of Kafka`, 's', kafkaSeconds),
    sample(`${relayRate}, CPU of Postgres`, 's', postgresSeconds),
  ]
}
