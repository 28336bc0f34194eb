import { installedVersion, ownVersion } from '../harness/installed-version.ts'
import { withDatabases } from '../harness/scratch-databases.ts'
import { startSubject } from '../harness/start-subject.ts'
import { checkOutbox, checkPurchases, createPurchaseTable } from './purchases.ts'
import type { Sample } from '../harness/result.ts'
import type { Contender } from '../harness/rounds.ts'
import type { Server } from '../harness/server.ts'
import type { TransactionsInput } from './transactions-subject.ts'

const ways = {
  pg: { system: 'pg alone', version: installedVersion('pg') },
  transaction: { system: 'tidemark, without publish', version: ownVersion() },
  publish: { system: 'tidemark, with publish', version: ownVersion() },
}

export type Way = keyof typeof ways

export function systemOf(way: Way): string {
  return ways[way].system
}

export function transactionsMetric(clients: number): string {
  return `transactions, ${clients} ${clients === 1 ? 'client' : 'clients'}`
}

/** Transactions of one business row each, as fast as a number of clients can, for some seconds. */
export function transactionsContender(server: Server, way: Way, clients: number, seconds: number): Contender {
  const { system, version } = ways[way]
  const name = transactionsMetric(clients)
  return {
    name: `${system}, ${name}`,
    measure: () =>
      withDatabases(server, ['shop'], async ({ shop }) => {
        await createPurchaseTable(server, shop)
        const subject = startSubject(new URL('./transactions-subject.ts', import.meta.url), {
          database: shop,
          clients,
          seconds,
          way,
        } satisfies TransactionsInput)
        try {
          await subject.perform('prepare')
          await server.settle([shop])
          const { figures } = await subject.perform('run')
          await subject.perform('stop')
          await checkPurchases(server, shop, figures['rows']!)
          if (way === 'publish') await checkOutbox(server, shop, figures['rows']!)
          const sample = (metric: string, unit: string, value: number): Sample => ({ system, version, metric, unit, value })
          return [sample(name, 'transactions/s', figures['perSecond']!), sample(`${name}, p99`, 'ms', figures['p99']!)]
        } finally {
          await subject.end()
        }
      }),
  }
}
