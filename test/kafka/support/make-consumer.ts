import { type Consumer, onMessage, runConsumer } from '../../../src/consumer/index.ts'
import { type KafkaBrokerOptions, kafka } from '../../../src/drivers/kafka/index.ts'
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { PostgresConsumerStore } from '../../../src/drivers/postgres/postgres-consumer-store.ts'
import { changed } from './load.ts'

export interface ConsumerSettings {
  readonly url: string
  readonly kafka: KafkaBrokerOptions
  readonly aggregate: string
  /** Each has a consumer of its own. */
  readonly groups: readonly string[]
  /** The handler of this change fails, whenever it is tried. */
  readonly poison: { readonly key: string; readonly n: number }
  readonly sessionTimeoutMs: number
}

/** Consumers of a load without a service around them, in small batches and few lanes, so that they are at every step soon. */
export interface RunningConsumers {
  readonly consumers: readonly Consumer[]
  /** Stops them and closes what they run on. */
  stop(): Promise<void>
}

export function runConsumers(settings: ConsumerSettings): RunningConsumers {
  const { url, aggregate, groups, poison, sessionTimeoutMs } = settings
  const database = new PostgresDatabase({ connectionString: url, maxConnections: 8 })
  const broker = kafka(settings.kafka)
  const handlerOf = (group: string) =>
    onMessage(changed(aggregate), async ({ data: { key, n } }, { tx }) => {
      if (key === poison.key && n === poison.n) throw new Error('poison')
      await tx.query('insert into effect (aggregate, grp, key, n) values ($1, $2, $3, $4)', [aggregate, group, key, n])
    })
  const consumers = groups.map((group) =>
    runConsumer({
      group,
      broker,
      store: new PostgresConsumerStore({ database, standstillMs: 2_000 }),
      handlers: [handlerOf(group)],
      retry: { baseDelayMs: 1, maxAttempts: 2 },
      retryPollMs: 50,
      retryLeaseMs: 1_000,
      batch: { maxMessages: 10 },
      idleAdvanceMs: 30,
      drainMs: 2_000,
      lockTimeoutMs: 300,
      lanes: 2,
      sessionTimeoutMs,
    }),
  )
  return {
    consumers,
    async stop() {
      await Promise.all(consumers.map((consumer) => consumer.stop()))
      await broker.close()
      await database.close()
    },
  }
}
