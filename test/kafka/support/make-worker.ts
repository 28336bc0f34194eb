import { kafka } from '../../../src/drivers/kafka/index.ts'
import { postgres } from '../../../src/drivers/postgres/index.ts'
import type { Transaction } from '../../../src/message/transaction.ts'
import { type Service, service } from '../../../src/service/index.ts'
import { type Change, changed } from './load.ts'
import type { WorkerSettings } from './start-worker.ts'

/** A service on Kafka with a broker of its own. */
export interface Worker {
  readonly service: Service
  /** Of both. */
  stop(): Promise<void>
}

/**
 * Makes a service that publishes, relays and handles as it is set; nothing is started yet. Its handlers note each change among the effects, after
 * `before`.
 */
export function makeWorker(settings: WorkerSettings, before?: (change: Change, tx: Transaction) => Promise<void>): Worker {
  const { url, aggregate, groups = [], relay = false, partitions = 8 } = settings
  const broker = kafka(settings.kafka)
  const worker = service('load', {
    database: postgres({ connectionString: url, maxConnections: 8 }),
    broker,
    relay,
    partitions,
    outbox: { leaseMs: 1_500, idleMs: 10, ...settings.outbox },
    consumer: { idleAdvanceMs: 100, drainMs: 2_000, lockTimeoutMs: 500, sessionTimeoutMs: 1_500, ...settings.consumer },
  })
  for (const group of groups) {
    worker.consume(changed(aggregate), { group }, async ({ data }, { tx }) => {
      await before?.(data, tx)
      await tx.query('insert into effect (aggregate, grp, key, n) values ($1, $2, $3, $4)', [aggregate, group, data.key, data.n])
    })
  }
  const stop = async (): Promise<void> => {
    await worker.stop()
    await broker.close()
  }
  return { service: worker, stop }
}
