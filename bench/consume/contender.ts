import { withDatabases } from '../harness/scratch-databases.ts'
import { startSubject } from '../harness/start-subject.ts'
import { checkInvoices, createInvoiceTable, handlingTimeP99 } from './invoices.ts'
import type { Contender } from '../harness/rounds.ts'
import type { Sample } from '../harness/result.ts'
import type { Server } from '../harness/server.ts'

export interface ConsumeSystem {
  readonly name: string
  readonly version: string
  /** The module of the process that runs it. */
  readonly module: URL
  readonly settings: Readonly<Record<string, unknown>>
  /** Extra databases it needs, by the name of the setting that gets the connection string. */
  readonly databases?: readonly string[]
  /** Rejects unless the system's own books agree: nothing left over, nothing failed. */
  check(server: Server, databases: Readonly<Record<string, string>>): Promise<void>
}

export const throughput = 'throughput'

/** One run: fresh databases, the backlog, a checkpoint, then the clock; at last everything is counted. */
export function consumeContender(server: Server, system: ConsumeSystem, messages: number): Contender {
  return {
    name: system.name,
    measure: () =>
      withDatabases(server, ['database', ...(system.databases ?? [])], (databases) => measureOnce(server, system, databases, messages)),
  }
}

async function measureOnce(
  server: Server,
  system: ConsumeSystem,
  databases: Readonly<Record<string, string>>,
  messages: number,
): Promise<Sample[]> {
  const database = databases['database']!
  await createInvoiceTable(server, database)
  const subject = startSubject(system.module, { database, messages, settings: { ...system.settings, ...databases } })
  try {
    await subject.perform('prepare')
    await server.settle(Object.values(databases))
    const serverBefore = server.cpuSeconds()
    const { figures, cpuSeconds } = await subject.perform('run')
    const serverAfter = server.cpuSeconds()
    await subject.perform('stop')
    await checkInvoices(server, database, messages)
    await system.check(server, databases)
    const sample = (metric: string, unit: string, value: number): Sample => ({
      system: system.name,
      version: system.version,
      metric,
      unit,
      value,
    })
    return [
      sample(throughput, 'messages/s', messages / figures['seconds']!),
      sample('start to first message', 'ms', figures['firstMessageMs']!),
      sample('handler start to commit, p99', 'ms', await handlingTimeP99(server, database)),
      sample('CPU of Node', 's', cpuSeconds),
      ...(serverBefore === null || serverAfter === null ? [] : [sample('CPU of Postgres', 's', serverAfter - serverBefore)]),
    ]
  } finally {
    await subject.end()
  }
}
