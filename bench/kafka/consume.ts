import { consumeContender } from '../consume/contender.ts'
import { checkOrderPerCustomer } from '../consume/invoices.ts'
import { nothingLeft } from '../consume/systems.ts'
import { installedVersion, ownVersion } from '../harness/installed-version.ts'
import { withDatabases } from '../harness/scratch-databases.ts'
import { topicOf } from './purchase-placed.ts'
import { relayPurchases } from './store-purchases.ts'
import { checkTopic } from './topic-check.ts'
import type { ConsumeSystem, Meter } from '../consume/contender.ts'
import type { Contender } from '../harness/rounds.ts'
import type { Server } from '../harness/server.ts'
import type { BenchBroker } from './broker.ts'
import type { HandWrittenSettings } from './hand-written-subject.ts'
import type { TidemarkConsumerSettings } from './tidemark-consumer-subject.ts'

export const consumeSystems = {
  message: 'tidemark',
  batch: 'tidemark (batch handler)',
  'one by one': 'hand-written loop',
  partitions: 'hand-written loop, partitions at once',
  batches: 'hand-written loop, batches of 500',
} as const

const aggregate = 'consumed'

/** Stores the backlog once: all contenders of all rounds read it, each in a group of its own that begins at its beginning. */
export async function withConsumeBacklog<T>(server: Server, broker: BenchBroker, messages: number, use: () => Promise<T>): Promise<T> {
  return broker.withTopics([topicOf(aggregate)], async () => {
    await withDatabases(server, ['shop'], ({ shop }) => relayPurchases(broker.client, { database: shop, aggregate, messages }))
    await checkTopic(broker.client, topicOf(aggregate), messages)
    return use()
  })
}

/** Ours: the handler of single messages that is compared, and the handler of batches beside it; then three loops on the client we use, too. */
export function consumeContenders(server: Server, broker: BenchBroker, messages: number): Contender[] {
  const brokers = broker.addresses
  const kafka: Meter = { metric: 'CPU of Kafka', cpuSeconds: () => broker.cpuSeconds() }
  const systems = [
    ...(['message', 'batch'] as const).map((handler) => tidemark({ brokers, aggregate, handler })),
    ...(['one by one', 'partitions', 'batches'] as const).map((way) => handWritten({ brokers, topic: topicOf(aggregate), way })),
  ]
  return systems.map((system) => {
    const contender = consumeContender(server, system, messages, [kafka])
    return { ...contender, name: `${contender.name}, consume` }
  })
}

function tidemark(settings: TidemarkConsumerSettings): ConsumeSystem {
  return {
    name: consumeSystems[settings.handler],
    version: ownVersion(),
    module: new URL('./tidemark-consumer-subject.ts', import.meta.url),
    settings: { ...settings },
    async check(server, { database }) {
      await nothingLeft(server, database!, 'select count(*)::int as left from tidemark.dead_letter')
      await checkOrderPerCustomer(server, database!)
    },
  }
}

function handWritten(settings: HandWrittenSettings): ConsumeSystem {
  return {
    name: consumeSystems[settings.way],
    version: installedVersion('@platformatic/kafka'),
    module: new URL('./hand-written-subject.ts', import.meta.url),
    settings: { ...settings },
    check: (server, { database }) => checkOrderPerCustomer(server, database!),
  }
}
