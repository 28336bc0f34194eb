import { best, graphileWorkerSettings, pgBossJobByJob, pgBossSettings } from './peer-settings.ts'
import { installedVersion, ownVersion } from '../harness/installed-version.ts'
import type { Server } from '../harness/server.ts'
import type { ConsumeSystem } from './contender.ts'
import type { GraphileWorkerSettings } from './graphile-worker-subject.ts'
import { checkOrderPerCustomer } from './invoices.ts'
import type { TidemarkSettings } from './tidemark-subject.ts'
import type { PgBossSettings } from './pg-boss-subject.ts'

/** Ours: the handler of single messages that is compared, and the handler of batches beside it. */
export function ownSystems(): ConsumeSystem[] {
  return [tidemark('tidemark', { handler: 'message' }), tidemark('tidemark (batch handler)', { handler: 'batch' })]
}

/** The peers as the bench runs them. */
export function peers(): ConsumeSystem[] {
  return [
    graphileWorker('graphile-worker', best(graphileWorkerSettings)[1]),
    pgBoss('pg-boss', best(pgBossSettings)[1]),
    pgBoss('pg-boss (job by job)', pgBossJobByJob),
  ]
}

/** The peers with every setting that was tried, one system each. */
export function tunedPeers(): ConsumeSystem[] {
  return [
    ...Object.entries(graphileWorkerSettings).map(([name, settings]) => graphileWorker(`graphile-worker: ${name}`, settings)),
    ...Object.entries(pgBossSettings).map(([name, settings]) => pgBoss(`pg-boss: ${name}`, settings)),
  ]
}

function tidemark(name: string, settings: TidemarkSettings): ConsumeSystem {
  return {
    name,
    version: ownVersion(),
    module: new URL('./tidemark-subject.ts', import.meta.url),
    settings: { ...settings },
    databases: ['shop', 'log'],
    async check(server, databases) {
      await nothingLeft(server, databases['database']!, 'select count(*)::int as left from tidemark.dead_letter')
      await checkOrderPerCustomer(server, databases['database']!)
    },
  }
}

function graphileWorker(name: string, settings: GraphileWorkerSettings): ConsumeSystem {
  return {
    name,
    version: installedVersion('graphile-worker'),
    module: new URL('./graphile-worker-subject.ts', import.meta.url),
    settings: { ...settings },
    check: (server, databases) => nothingLeft(server, databases['database']!, 'select count(*)::int as left from graphile_worker.jobs'),
  }
}

function pgBoss(name: string, settings: PgBossSettings): ConsumeSystem {
  return {
    name,
    version: installedVersion('pg-boss'),
    module: new URL('./pg-boss-subject.ts', import.meta.url),
    settings: { ...settings },
    check: (server, databases) =>
      nothingLeft(
        server,
        databases['database']!,
        "select count(*)::int as left from pgboss.job where name = 'invoice' and state <> 'completed'",
      ),
  }
}

/** Rejects unless the query's only number is zero. */
export async function nothingLeft(server: Server, database: string, query: string): Promise<void> {
  const [row] = await server.query<{ left: number }>(database, query)
  if (row?.left !== 0) throw new Error(`expected nothing to be left over, found ${String(row?.left)} by: ${query}`)
}
