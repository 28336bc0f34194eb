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

/** A process that works for all systems, beside Postgres. */
export interface Meter {
  readonly metric: string
  /** CPU seconds up to now. */
  cpuSeconds(): Promise<number>
}

/** One run: fresh databases, the backlog, a checkpoint, then the clock; at last everything is counted. */
export function consumeContender(server: Server, system: ConsumeSystem, messages: number, meters: readonly Meter[] = []): Contender {
  return {
    name: system.name,
    measure: () =>
      withDatabases(server, ['database', ...(system.databases ?? [])], (databases) =>
        measureOnce(server, system, databases, messages, meters),
      ),
  }
}

async function measureOnce(
  server: Server,
  system: ConsumeSystem,
  databases: Readonly<Record<string, string>>,
  messages: number,
  meters: readonly Meter[],
): Promise<Sample[]> {
  const database = databases['database']!
  await createInvoiceTable(server, database)
  const subject = startSubject(system.module, { database, messages, settings: { ...system.settings, ...databases } })
  try {
    await subject.perform('prepare')
    await server.settle(Object.values(databases))
    const metersBefore = await readings(meters)
    const serverBefore = server.cpuSeconds()
    const { figures, cpuSeconds } = await subject.perform('run')
    const serverAfter = server.cpuSeconds()
    const metersAfter = await readings(meters)
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
      ...meters.map(({ metric }, index) => sample(metric, 's', metersAfter[index]! - metersBefore[index]!)),
    ]
  } finally {
    await subject.end()
  }
}

function readings(meters: readonly Meter[]): Promise<number[]> {
  return Promise.all(meters.map((meter) => meter.cpuSeconds()))
}
