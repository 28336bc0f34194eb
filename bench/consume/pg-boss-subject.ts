import pg from 'pg'
import { PgBoss } from 'pg-boss'
import type { Job, JobResult } from 'pg-boss'
import { serveSubject } from '../harness/subject.ts'
import { EffectWatch } from './effect-watch.ts'
import { insertInvoice, invoiceValues } from './invoices.ts'
import { orderChunks } from '../orders/order.ts'
import type { ConsumeInput } from './effect-watch.ts'
import type { Order } from '../orders/order.ts'

export interface PgBossSettings {
  /** Connections of the instance. */
  readonly max: number
  readonly localConcurrency: number
  readonly batchSize: number
  /**
   * `transaction`: inserts through pg-boss's transaction, which also completes the batch: effects once, and one failure fails the batch.
   * `pool`: every insert commits on its own. `pool, per job`: the same, and every job is settled on its own.
   */
  readonly inserts: 'transaction' | 'pool' | 'pool, per job'
  /** A physical table of the queue's own. */
  readonly partition: boolean
}

const queue = 'invoice'

serveSubject((input: ConsumeInput<PgBossSettings>) => {
  const watch = new EffectWatch(input)
  const { settings } = input
  const { localConcurrency, batchSize } = settings
  // This instance only works: maintenance and schedules are another's task.
  const boss = new PgBoss({ connectionString: input.database, max: settings.max, supervise: false, schedule: false })
  const pool = new pg.Pool({ connectionString: input.database, max: settings.max })
  // Fetches again at once while batches come back full. A batch of one counts as never full, and has only the shortest polling interval.
  const options = { localConcurrency, batchSize, pollingIntervalSeconds: 0.5, burstWhenBatchFull: true }

  const insert = async (job: Job<Order>): Promise<JobResult> => {
    watch.begun(1)
    await pool.query(insertInvoice, invoiceValues(job.data))
    return { id: job.id, status: 'completed' }
  }
  const work = {
    transaction: () =>
      boss.work<Order, void, { transactional: true }>(queue, { ...options, transactional: true }, async (jobs, tx) => {
        for (const job of jobs) {
          watch.begun(1)
          await tx.executeSql(insertInvoice, invoiceValues(job.data))
        }
      }),
    pool: () =>
      boss.work<Order>(queue, options, async (jobs) => {
        await Promise.all(jobs.map(insert))
      }),
    'pool, per job': () =>
      boss.work<Order, void, { perJobResults: true }>(queue, { ...options, perJobResults: true }, (jobs) => Promise.all(jobs.map(insert))),
  }

  return {
    async prepare() {
      await watch.open()
      boss.on('error', (error) => process.stderr.write(`pg-boss: ${error.message}\n`))
      await boss.start()
      await boss.createQueue(queue, { partition: settings.partition })
      for (const orders of orderChunks(input.messages, 1_000)) {
        await boss.insert(
          queue,
          orders.map((order) => ({ data: order })),
        )
      }
    },
    run: () => watch.measure(work[settings.inserts]),
    async stop() {
      await boss.stop({ graceful: true })
      await pool.end()
      await watch.close()
    },
  }
})
