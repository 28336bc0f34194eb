import { Logger, makeWorkerUtils, run, runMigrations } from 'graphile-worker'
import type { Runner } from 'graphile-worker'
import { serveSubject } from '../harness/subject.ts'
import { EffectWatch } from './effect-watch.ts'
import { insertInvoice, invoiceValues } from './invoices.ts'
import { orderChunks } from '../orders/order.ts'
import type { ConsumeInput } from './effect-watch.ts'
import type { Order } from '../orders/order.ts'

/** Those of the worker's preset that matter for throughput. */
export interface GraphileWorkerSettings {
  readonly concurrentJobs: number
  readonly localQueue: { readonly size: number; readonly refetchDelay?: { readonly durationMs: number } }
  readonly completeJobBatchDelay: number
  readonly failJobBatchDelay: number
}

/** The worker logs a line for each job, which costs time; its own performance test turns that off too. */
const silent = new Logger(() => () => {})

serveSubject((input: ConsumeInput<GraphileWorkerSettings>) => {
  const watch = new EffectWatch(input)
  const { settings } = input
  const preset = { worker: { ...settings, connectionString: input.database, maxPoolSize: settings.concurrentJobs + 1, logger: silent } }
  let runner: Runner | undefined
  return {
    async prepare() {
      await watch.open()
      await runMigrations({ preset })
      const utils = await makeWorkerUtils({ preset })
      for (const orders of orderChunks(input.messages, 1_000)) {
        await utils.addJobs(orders.map((order) => ({ identifier: 'invoice', payload: order })))
      }
      await utils.release()
    },
    run: () =>
      watch.measure(async () => {
        runner = await run({
          preset,
          noHandleSignals: true,
          parsedCronItems: [],
          taskList: {
            async invoice(payload, helpers) {
              watch.begun(1)
              await helpers.query(insertInvoice, invoiceValues(payload as Order))
            },
          },
        })
      }),
    async stop() {
      await runner?.stop()
      await watch.close()
    },
  }
})
