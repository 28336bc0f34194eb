import { TidemarkError } from '../errors.ts'
import { parseCoordinate } from '../message/coordinate.ts'
import type { Broker, LogRecord } from '../message/port.ts'
import { coordinateHeader } from '../message/wire.ts'
import type { OutboxOperations, RebasePlan } from './operations.ts'
import { readTail } from './read-tail.ts'

export interface RebaseOptions {
  readonly outbox: OutboxOperations
  /** The broker that the relay sends to. */
  readonly broker: Broker
  /** The rows were restored from a dump (`pg_dump`), into another cluster. No writer may run meanwhile. @default false */
  readonly fromDump?: boolean
  /** Only read, and say what would be done. @default false */
  readonly dryRun?: boolean
}

export interface RebaseReport {
  /** Before, and after. The same in a dry run. */
  readonly sourceEpoch: string
  /** Messages on the wire that this database does not have as published: left out if it has them, orphans if not. */
  readonly onTheWire: number
  readonly topics: readonly string[]
}

/** Clocks of broker and database may differ by so much. Reading too much of the tail costs time only. */
const clockSkewMs = 10 * 60_000

/**
 * Lets a restored or copied database go on: reads the tail of its topics from the database's last certain state on, begins a new life of the
 * source, and has the first tick leave out what is on the wire already. Nothing is lost, and nothing is sent twice, as far as the broker still
 * holds the tail. The relay must not run, and no other copy of the database may go on.
 */
export async function rebase({ outbox, broker, fromDump = false, dryRun = false }: RebaseOptions): Promise<RebaseReport> {
  const plan = await outbox.rebasePlan()
  if (plan.foreignXids && !fromDump) {
    throw new TidemarkError(
      'CONFIG_INVALID',
      'The rows of the outbox carry transaction ids that this server has not come to: they were restored from a dump.',
      {
        remedy: 'Stop all writers, then rebase with fromDump (tidemark outbox rebase --from-dump).',
      },
    )
  }
  const skip = new Map<number, string[]>()
  let onTheWire = 0
  await readTail(broker, plan.topics, new Date(plan.since.getTime() - clockSkewMs), (record) => {
    const found = beyond(plan, record)
    if (found === null) return
    onTheWire += 1
    const ids = skip.get(found.stream)
    if (ids === undefined) skip.set(found.stream, [found.id])
    else ids.push(found.id)
  })
  if (!dryRun) await outbox.rebase(skip, { fromDump })
  return { sourceEpoch: plan.sourceEpoch, onTheWire, topics: plan.topics }
}

/** Is this record of this source, sent after the state the plan starts from? */
function beyond(plan: RebasePlan, record: LogRecord): { stream: number; id: string } | null {
  const text = header(record, coordinateHeader)
  const coordinate = text === null ? null : parseCoordinate(text)
  const id = header(record, 'id')
  if (coordinate === null || id === null || coordinate.sourceEpoch !== plan.sourceEpoch) return null
  const known = plan.streams.find(({ stream }) => stream === coordinate.stream)
  if (known === undefined) return { stream: coordinate.stream, id }
  const { generation, tick } = coordinate
  const after = generation > known.generation || (generation === known.generation && tick > known.tick)
  return after || (known.unfinished && generation === known.generation && tick === known.tick) ? { stream: known.stream, id } : null
}

function header(record: LogRecord, name: string): string | null {
  const value = record.headers.find(([found]) => found === name)?.[1]
  return value === undefined || value === null ? null : value.toString()
}
