import type { Maintenance, MaintenanceEvent } from '../../outbox/port.ts'
import type { OutboxRetention } from '../port.ts'
import type { PostgresDatabase } from './database.ts'
import { quotedSchema } from './migrations/schema-name.ts'
import { runOutsideTransaction } from './outside-transaction.ts'
import * as partitions from './queries/partitions.ts'
import type { Session } from './session.ts'

export const retentionDefaults: OutboxRetention = { partitionRows: 1_000_000, ahead: 4, keepMs: 86_400_000, everyMs: 1_000 }

export interface RetentionJob {
  readonly database: PostgresDatabase
  readonly schema: string
  readonly settings: OutboxRetention
  /** Simple mode: rows are deleted one by one, a partition goes when it is empty. */
  readonly deletes: boolean
  readonly onEvent: (event: MaintenanceEvent) => void
}

/**
 * Keeps the partitions of the outbox in the background, on a connection of its own: makes them ahead, seals full ones, drops old ones. Every
 * step can be repeated, and any lock it cannot have within 50 ms it tries for again at the next look, so that publishers are never held up.
 */
export function keepPartitions(job: RetentionJob): Maintenance {
  let stopped = false
  let wake: () => void = () => undefined
  const loop = async (): Promise<void> => {
    while (!stopped) {
      await rotate(job).catch((error: unknown) => job.onEvent({ kind: 'maintenance-failed', error }))
      if (!stopped) await pause(job.settings.everyMs, (end) => (wake = end))
    }
  }
  const ended = loop()
  return {
    stop: () => {
      stopped = true
      wake()
      return ended
    },
  }
}

/** One look: everything that can be done now. */
export async function rotate(job: RetentionJob): Promise<void> {
  await job.database.use(async (session) => {
    try {
      // Publishers need the next partition more than anybody needs the last one gone: making comes before each removal.
      do {
        await makeAhead(session, job)
        await sealFull(session, job)
      } while (await removeOne(session, job))
    } catch (error) {
      await session.run([{ text: 'rollback' }]).catch(() => undefined)
      if (!isLockTimeout(error)) throw error
    }
  })
}

async function makeAhead(session: Session, job: RetentionJob): Promise<void> {
  const { partitionRows, ahead } = job.settings
  const schema = quotedSchema(job.schema)
  const { drawn, ready: end } = await readNumbers(session, schema)
  let ready = end
  if (ready - drawn < partitionRows) job.onEvent({ kind: 'partitions-low', rowsLeft: ready - drawn })
  while (ready - drawn < ahead * partitionRows) {
    await session.run(partitions.makePartition(schema, ready, ready + partitionRows))
    job.onEvent({ kind: 'partition', change: 'made', name: `outbox_${ready}` })
    ready += partitionRows
  }
}

async function sealFull(session: Session, job: RetentionJob): Promise<void> {
  const schema = quotedSchema(job.schema)
  const { drawn } = await readNumbers(session, schema)
  const [sealed] = await session.run([partitions.seal(schema, String(drawn))])
  for (const { name } of sealed!.rows) job.onEvent({ kind: 'partition', change: 'sealed', name: String(name) })
}

async function readNumbers(session: Session, schema: string): Promise<{ drawn: number; ready: number }> {
  const [result] = await session.run([partitions.numbers(schema)])
  const { drawn, ready } = result!.rows[0]!
  return { drawn: Number(drawn), ready: Number(ready) }
}

/** Takes the removal of one partition as far as it gets. `true`: it is gone, there may be another. */
async function removeOne(session: Session, job: RetentionJob): Promise<boolean> {
  const schema = quotedSchema(job.schema)
  const [under] = await session.run([partitions.removal(schema)])
  const begun = under!.rows[0]
  if (begun === undefined) {
    const name = await findDroppable(session, job, schema)
    if (name === null) return false
    await session.run([partitions.setState(schema, name, 'detaching')])
    return removeOne(session, job)
  }
  const name = String(begun.name)
  const found = { attached: begun.attached === true, pending: begun.pending === true, exists: begun.exists === true }
  if (found.attached && !found.pending) await runOutsideTransaction(session, partitions.detach(schema, name), partitions.lockTimeoutMs)
  await session.run(partitions.drop(schema, name, found))
  job.onEvent({ kind: 'partition', change: 'dropped', name })
  return true
}

async function findDroppable(session: Session, job: RetentionJob, schema: string): Promise<string | null> {
  const [found] = await session.run([job.deletes ? partitions.emptyCandidate(schema) : partitions.droppable(schema, job.settings.keepMs)])
  const name = found!.rows[0]?.name
  if (name === undefined) return null
  if (!job.deletes) return String(name)
  const rows = await session.query(`select from ${schema}.${String(name)} limit 1`)
  return rows.length === 0 ? String(name) : null
}

function isLockTimeout(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === '55P03'
}

function pause(ms: number, onWake: (end: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    onWake(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}
