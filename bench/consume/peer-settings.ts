import type { GraphileWorkerSettings } from './graphile-worker-subject.ts'
import type { PgBossSettings } from './pg-boss-subject.ts'

/**
 * The peers' settings that were tried, by name. `npm run bench -- consume --tune` runs them all; the best of each stands first and is the one
 * the bench uses. Where they come from is told in docs/design/benchmarks.md.
 */
export const graphileWorkerSettings: Readonly<Record<string, GraphileWorkerSettings>> = {
  // The project's own performance figures use 24 jobs and a queue of 500; its guide advises 250 ms.
  'longer completion batches': { concurrentJobs: 24, localQueue: { size: 500 }, completeJobBatchDelay: 250, failJobBatchDelay: 250 },
  // The settings of the project's own performance figures.
  'published figures': { concurrentJobs: 24, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
  'published figures, refetch delay': {
    concurrentJobs: 24,
    localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  },
  'starting point of the guide': { concurrentJobs: 10, localQueue: { size: 11 }, completeJobBatchDelay: 250, failJobBatchDelay: 250 },
  'more jobs at once': { concurrentJobs: 64, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
  'more jobs at once, longer completion batches': {
    concurrentJobs: 64,
    localQueue: { size: 1000 },
    completeJobBatchDelay: 250,
    failJobBatchDelay: 250,
  },
  'no batching': { concurrentJobs: 24, localQueue: { size: -1 }, completeJobBatchDelay: -1, failJobBatchDelay: -1 },
}

export const pgBossSettings: Readonly<Record<string, PgBossSettings>> = {
  'one transaction a batch of 500, 4 workers, shared table': {
    max: 10,
    localConcurrency: 4,
    batchSize: 500,
    inserts: 'transaction',
    partition: false,
  },
  'one transaction a batch of 500, 8 workers': { max: 18, localConcurrency: 8, batchSize: 500, inserts: 'transaction', partition: true },
  'one transaction a batch of 500, 4 workers': { max: 10, localConcurrency: 4, batchSize: 500, inserts: 'transaction', partition: true },
  'one transaction a batch of 1000, 4 workers': { max: 10, localConcurrency: 4, batchSize: 1000, inserts: 'transaction', partition: true },
  'one transaction a batch of 100, 4 workers': { max: 10, localConcurrency: 4, batchSize: 100, inserts: 'transaction', partition: true },
  'own inserts, batches of 1000, pool of 24': { max: 24, localConcurrency: 2, batchSize: 1000, inserts: 'pool', partition: true },
  'own inserts, batches of 1000, pool of 64': { max: 64, localConcurrency: 2, batchSize: 1000, inserts: 'pool', partition: true },
}

/** Reported beside: the setting whose handler fails one job alone, as ours does. The batch of the others fails as a whole. */
export const pgBossJobByJob: PgBossSettings = { max: 24, localConcurrency: 2, batchSize: 1000, inserts: 'pool, per job', partition: true }

/** The name and settings that stand first. */
export function best<Settings>(tried: Readonly<Record<string, Settings>>): [string, Settings] {
  return Object.entries(tried)[0]!
}
