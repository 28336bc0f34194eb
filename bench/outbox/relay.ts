import { ownVersion } from '../harness/installed-version.ts'
import { withDatabases } from '../harness/scratch-databases.ts'
import { startSubject } from '../harness/start-subject.ts'
import { checkOutbox } from './purchases.ts'
import type { Sample } from '../harness/result.ts'
import type { Contender } from '../harness/rounds.ts'
import type { Server } from '../harness/server.ts'
import type { RelayInput } from './relay-subject.ts'

export type RelayTarget = 'memory' | 'postgres' | 'postgres, same database'

/** From a stored backlog to the last record in the log, the relay's start included. */
export function relayContender(server: Server, target: RelayTarget, messages: number): Contender {
  const system = `tidemark, to ${target}`
  return {
    name: `${system}, relay`,
    measure: () =>
      withDatabases(server, ['shop', 'log'], async ({ shop, log }) => {
        const logs = { memory: null, postgres: log, 'postgres, same database': shop }
        const subject = startSubject(new URL('./relay-subject.ts', import.meta.url), {
          database: shop,
          messages,
          log: logs[target],
        } satisfies RelayInput)
        try {
          await subject.perform('prepare')
          await checkOutbox(server, shop, messages)
          await server.settle([shop, log])
          const serverBefore = server.cpuSeconds()
          const { figures, cpuSeconds } = await subject.perform('run')
          const serverAfter = server.cpuSeconds()
          await subject.perform('stop')
          await checkPublished(server, shop, messages)
          const sample = (metric: string, unit: string, value: number): Sample => ({ system, version: ownVersion(), metric, unit, value })
          return [
            sample('relay from a backlog', 'messages/s', messages / figures['seconds']!),
            sample('relay, CPU of Node', 's', cpuSeconds),
            ...(serverBefore === null || serverAfter === null ? [] : [sample('relay, CPU of Postgres', 's', serverAfter - serverBefore)]),
          ]
        } finally {
          await subject.end()
        }
      }),
  }
}

async function checkPublished(server: Server, database: string, expected: number): Promise<void> {
  const [found] = await server.query<{ published: number }>(
    database,
    'select count(*)::int as published from tidemark.outbox_messages where published_at is not null',
  )
  if (found?.published !== expected) throw new Error(`expected ${expected} published messages, found ${String(found?.published)}`)
}
